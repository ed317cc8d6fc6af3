"""What an ablation says: a row for every setting and method, from its trials."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import Interval, linearised_h, t_interval
from studies.ablation.grid import REFERENCE, Setting
from studies.ablation.trials import Trials
from studies.records import Seeds

SIDES = ("positive", "negative")
BASELINE = "kdpl"

Cells = Mapping[str, Mapping[str, float]]
"""Accuracies in per cent by dataset: base and new, means over seeds, and their H; under joint_base,
joint_new and joint_h the same where all classes compete, if every trial was tested so."""


@dataclass(frozen=True)
class Row:
    """One method under one setting, over all datasets and seeds.

    Attributes:
        setting: its name, and in what it differs from the reference.
        method: the method's name.
        datasets: its accuracies on each.
        gaps: "difference", of the H of averages to the same method's reference, which itself has
            none, and "over_baseline", to BASELINE under the same setting, where that ran too;
            "joint_difference" and "joint_over_baseline" likewise of joint H.
        gradients: norms of each term's gradient by context, means over datasets, seeds and
            probed epochs.
        inactive: for each term the share of trainings in which it was inactive.
    """

    setting: Setting
    method: str
    datasets: Cells
    gaps: Mapping[str, Interval]
    gradients: Mapping[str, Mapping[str, float]]
    inactive: Mapping[str, float]

    @property
    def averages(self) -> dict[str, float]:
        """The average of every accuracy over datasets; of "h" and "joint_h" the H of averages."""
        cells = list(self.datasets.values())
        found = {name: mean(cell[name] for cell in cells) for name in cells[0]}
        for name in [name for name in found if name.endswith("h")]:
            found[name] = harmonic_mean(*(found[name[:-1] + half] for half in ("base", "new")))
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        about = {"setting": self.setting.name, "changes": self.setting.changes}
        gaps = {name: vars(gap) for name, gap in self.gaps.items()}
        parts = {name: getattr(self, name) for name in ("datasets", "gradients", "inactive")}
        return {**about, "method": self.method, **self.averages, **gaps, **parts}


def summarise(
    settings: Sequence[Setting], datasets: Sequence[str], methods: Sequence[str], trials: Trials
) -> list[Row]:
    """Return the reference of every method, then each setting under the methods it touches."""
    rows = []
    for setting, method in itertools.product(settings, methods):
        against = {}
        if setting.changes:
            against["difference"] = (REFERENCE, method)
        if BASELINE in methods and method != BASELINE:
            against["over_baseline"] = (setting.name, BASELINE)
        if setting.touches(method):
            ours, *others = (
                {dataset: trials[name, dataset, one] for dataset in datasets}
                for name, one in ((setting.name, method), *against.values())
            )
            cells = _cells(ours)
            gaps = _gaps(cells, dict(zip(against, map(_cells, others), strict=True)))
            rows.append(Row(setting, method, cells, gaps, *_gradients(ours)))
    return rows


def _cells(trials: Mapping[str, Seeds]) -> Cells:
    runs = [seed for seeds in trials.values() for seed in seeds.values()]
    found: dict[str, dict[str, float]] = {name: {} for name in trials}
    for kind in ("", "joint_") if all("joint" in seed for seed in runs) else ("",):
        for name, seeds in trials.items():
            measured = [seed["joint"] if kind else seed for seed in seeds.values()]
            base, new = (mean(one[half] for one in measured) for half in ("base", "new"))
            h = harmonic_mean(base, new)
            found[name] |= {f"{kind}base": base, f"{kind}new": new, f"{kind}h": h}
    return found


def _gaps(ours: Cells, against: Mapping[str, Cells]) -> dict[str, Interval]:
    """Return how much higher our H of averages is than each of the others', paired by dataset."""

    def h(cells: Cells, kind: str) -> Any:
        halves = ([cell[kind + half] for cell in cells.values()] for half in ("base", "new"))
        return linearised_h(*halves)

    return {
        f"{kind}{name}": t_interval(h(ours, kind) - h(theirs, kind))
        for name, theirs in against.items()
        for kind in ("", "joint_")
        if all(f"{kind}h" in cell for cell in (*ours.values(), *theirs.values()))
    }


def _gradients(trials: Mapping[str, Seeds]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return each term's mean norms by context, and the share of trainings it was inactive in."""
    runs = [run for seeds in trials.values() for run in seeds.values()]
    probes = [norms for run in runs for norms in run["gradients"].values()]
    gradients = {}
    for term in probes[0]:
        of_sides = zip(*(norms[term] for norms in probes), strict=True)
        gradients[term] = dict(zip(SIDES, map(mean, of_sides), strict=False))
    return gradients, {term: mean(term in run["inactive"] for run in runs) for term in gradients}
