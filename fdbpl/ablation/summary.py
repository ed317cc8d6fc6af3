"""What an ablation says: a row for every setting and method, from its trials."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

from fdbpl.ablation.grid import REFERENCE, Changes, Setting
from fdbpl.ablation.trials import Trial, Trials
from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import Interval, linearised_h, t_interval
from fdbpl.settings.params import Params
from fdbpl.system.files import canonical_json, sha256

SIDES = ("positive", "negative")
BASELINE = "kdpl"

OfDatasets = Mapping[str, Trial]
"""Trials of one setting and method by dataset."""

Cells = Mapping[str, Mapping[str, float]]
"""Accuracies in per cent by dataset: base and new, means over seeds, and their H; under joint_base,
joint_new and joint_h the same where all classes compete, if every trial was tested so."""


@dataclass(frozen=True)
class Row:
    """One method under one setting, over all datasets and seeds.

    Attributes:
        setting: name of the setting.
        changes: in what it differs from the reference.
        method: the method's name.
        params: all parameters of the setting.
        datasets: its accuracies on each.
        gaps: "difference", of the H of averages to the same method's reference, which itself has
            none, and "over_baseline", to BASELINE under the same setting, where that ran too;
            "joint_difference" and "joint_over_baseline" likewise of joint H.
        gradients: norms of each term's gradient by context, means over datasets, seeds and
            probed epochs.
        inactive: for each term the share of trainings in which it was inactive, where not 0.
        trials: keys of the trials.
    """

    setting: str
    changes: Changes
    method: str
    params: Params
    datasets: Cells
    gaps: Mapping[str, Interval]
    gradients: Mapping[str, Mapping[str, float]]
    inactive: Mapping[str, float]
    trials: tuple[str, ...]

    @cached_property
    def key(self) -> str:
        """Digest of setting, method, trials and differences, to know the row by."""
        gaps = {name: vars(gap) for name, gap in self.gaps.items()}
        return sha256(canonical_json([self.setting, self.method, gaps, *self.trials]))

    @property
    def difference(self) -> Interval | None:
        """The difference of H to the reference; the reference has none."""
        return self.gaps.get("difference")

    @property
    def measures(self) -> list[str]:
        """The names of its accuracies: see `Cells`."""
        return list(next(iter(self.datasets.values())))

    def average(self, name: str) -> float:
        """Return the average of an accuracy over datasets; of "h" and "joint_h" H of averages."""
        if name.endswith("h"):
            return harmonic_mean(*(self.average(name[:-1] + half) for half in ("base", "new")))
        return mean(cell[name] for cell in self.datasets.values())

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return {
            "setting": self.setting,
            "changes": dict(self.changes),
            "method": self.method,
            **{name: self.average(name) for name in self.measures},
            **{name: vars(gap) for name, gap in self.gaps.items()},
            "datasets": {name: dict(cell) for name, cell in self.datasets.items()},
            "gradients": {term: dict(norms) for term, norms in self.gradients.items()},
            "inactive": dict(self.inactive),
        }


def summarise(
    settings: Sequence[Setting], datasets: Sequence[str], methods: Sequence[str], trials: Trials
) -> list[Row]:
    """Return the reference of every method, then each setting under the methods it touches.

    A setting touches a method when one of its trials is another one than the reference's.
    """
    rows = []
    for setting in settings:
        for method in methods:
            found = _of(trials, setting.name, datasets, method)
            reference = _of(trials, REFERENCE, datasets, method)
            against = {}
            if setting.name != REFERENCE:
                if _keys(found) == _keys(reference):
                    continue
                against["difference"] = reference
            if BASELINE in methods and method != BASELINE:
                against["over_baseline"] = _of(trials, setting.name, datasets, BASELINE)
            rows.append(_row(setting, method, found, against))
    return rows


def _of(trials: Trials, setting: str, datasets: Sequence[str], method: str) -> OfDatasets:
    return {dataset: trials[setting, dataset, method] for dataset in datasets}


def _keys(trials: OfDatasets) -> tuple[str, ...]:
    return tuple(trial.key for trial in trials.values())


def _row(
    setting: Setting, method: str, trials: OfDatasets, against: Mapping[str, OfDatasets]
) -> Row:
    seeds = [seed for trial in trials.values() for seed in trial.seeds.values()]
    terms = {term: None for seed in seeds for norms in seed["gradients"].values() for term in norms}
    inactive = {term: mean(term in seed["inactive"] for seed in seeds) for term in terms}
    cells = _cells(trials)
    gaps = {
        f"{kind}{name}": _gap(cells, theirs, kind)
        for name, theirs in ((name, _cells(others)) for name, others in against.items())
        for kind in ("", "joint_")
        if all(f"{kind}h" in cell for cell in (*cells.values(), *theirs.values()))
    }
    return Row(
        setting=setting.name,
        changes=setting.changes,
        method=method,
        params=setting.params,
        datasets=cells,
        gaps=gaps,
        gradients={term: dict(_norms(term, seeds)) for term in terms},
        inactive={term: share for term, share in inactive.items() if share},
        trials=_keys(trials),
    )


def _cells(trials: OfDatasets) -> Cells:
    runs = [seed for trial in trials.values() for seed in trial.seeds.values()]
    kinds = ("", "joint_") if all("joint" in seed for seed in runs) else ("",)
    found: dict[str, dict[str, float]] = {name: {} for name in trials}
    for kind, (name, trial) in itertools.product(kinds, trials.items()):
        seeds = [seed["joint"] if kind else seed for seed in trial.seeds.values()]
        base, new = (mean(seed[half] for seed in seeds) for half in ("base", "new"))
        h = harmonic_mean(base, new)
        found[name] |= {f"{kind}base": base, f"{kind}new": new, f"{kind}h": h}
    return found


def _gap(ours: Cells, theirs: Cells, kind: str) -> Interval:
    """Return how much higher our H of averages is."""
    our, their = (
        linearised_h(*([cell[kind + half] for cell in cells.values()] for half in ("base", "new")))
        for cells in (ours, theirs)
    )
    return t_interval(our - their)


def _norms(term: str, seeds: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield each context a term is probed on, with the mean norm of its gradient there."""
    probes = [norms[term] for seed in seeds for norms in seed["gradients"].values()]
    for side, norms in zip(SIDES, zip(*probes, strict=True), strict=False):
        yield side, mean(norms)
