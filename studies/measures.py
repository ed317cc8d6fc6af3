"""What was measured, by measure, method and dataset; means and paired differences of it."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from fdbpl.evaluation.statistics import Interval, linearised_h, t_interval

Of = tuple[str, str]
"""A measure and a method."""


@dataclass(frozen=True)
class Measures:
    """What was measured, in per cent, means over seeds.

    Attributes:
        source: the dataset that transfer learned on, where there was one.
        found: values by measure, method and dataset. Measures are base, new, joint base, joint
            new; of a transfer cross-dataset, shifted and, of what was learned on, source; of all
            classes learned "4 shots"; of OOD detection "score, kind" and "score, ECE".
    """

    source: str | None
    found: Mapping[str, Mapping[str, Mapping[str, float]]]

    def methods(self, measure: str = "base") -> list[str]:
        """Return the methods of a measure."""
        return list(self.found.get(measure, {}))

    def datasets(self, measure: str = "base") -> list[str]:
        """Return the datasets of a measure, which all its methods share."""
        return list(next(iter(self.found.get(measure, {}).values()), {}))

    def scores(self) -> list[str]:
        """Return the names of all OOD scores."""
        return list(dict.fromkeys(one.partition(", ")[0] for one in self.found if ", " in one))

    def values(self, measure: str, method: str) -> Mapping[str, float]:
        """Return a measure by dataset. "H" and "joint H" are linearised: see `linearised_h`."""
        if not measure.endswith("H"):
            return self.found.get(measure, {}).get(method, {})
        base, new = (self.values(measure[:-1] + half, method) for half in ("base", "new"))
        if not base:
            return {}
        return dict(zip(base, linearised_h([*base.values()], [*new.values()]), strict=True))

    def mean(self, measure: str, method: str) -> float | None:
        """Return the mean over datasets, of "H" and "joint H" the H of averages; None of none."""
        values = self.values(measure, method).values()
        return fmean(values) if values else None

    def difference(self, ours: Of, theirs: Of) -> Interval | None:
        """Return how much higher one measure and method is; None where either is not known."""
        gaps = self._gaps(ours, theirs)
        return t_interval(gaps) if gaps else None

    def everywhere(self, ours: Of, theirs: Of) -> str:
        """Return "higher" or "lower" where all of several datasets say so, or nothing.

        Of no H, whose values by dataset are linearised.
        """
        gaps = self._gaps(ours, theirs)
        if len(gaps) < 2 or ours[0].endswith("H"):
            return ""
        return "higher" if min(gaps) > 0 else "lower" if max(gaps) < 0 else ""

    def _gaps(self, ours: Of, theirs: Of) -> list[float]:
        our, their = self.values(*ours), self.values(*theirs)
        return [our[name] - their[name] for name in our] if our and their else []

    def only(self, wanted: Callable[[str], bool]) -> "Measures":
        """Return it with some datasets alone, and what nothing is left of dropped."""
        kept: dict[str, dict[str, Mapping[str, float]]] = defaultdict(dict)
        for measure, methods in self.found.items():
            for method, values in methods.items():
                if some := {name: value for name, value in values.items() if wanted(name)}:
                    kept[measure][method] = some
        return Measures(self.source, kept)
