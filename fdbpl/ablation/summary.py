"""What an ablation says: a row for every setting and method, from its trials."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev
from typing import Any

from fdbpl.ablation.grid import REFERENCE, Changes, Setting
from fdbpl.ablation.trials import Trial, Trials
from fdbpl.evaluation.statistics import Interval, paired_bootstrap
from fdbpl.files import canonical_json, sha256
from fdbpl.params import Params

SIDES = ("positive", "negative")
BASELINE = "kdpl"
BOOTSTRAP_SEED = 0

OfDatasets = Mapping[str, Trial]
"""Trials of one setting and method by dataset."""


@dataclass(frozen=True)
class Row:
    """One method under one setting, over all datasets and seeds.

    Attributes:
        setting: name of the setting.
        changes: in what it differs from the reference.
        method: the method's name.
        params: all parameters of the setting.
        datasets: for each its base, new and h in per cent, means over seeds.
        h_std: sample deviation over seeds of H, itself averaged over datasets.
        difference: of H to the same method's reference, over datasets and seeds; the reference
            has none.
        over_baseline: difference of H to BASELINE under the same setting, where that ran too.
        gradients: norms of each term's gradient by context, means over datasets, seeds and
            probed epochs.
        inactive: for each term the share of trainings in which it was inactive, where not 0.
        trials: keys of the trials.
    """

    setting: str
    changes: Changes
    method: str
    params: Params
    datasets: Mapping[str, Mapping[str, float]]
    h_std: float
    difference: Interval | None
    over_baseline: Interval | None
    gradients: Mapping[str, Mapping[str, float]]
    inactive: Mapping[str, float]
    trials: tuple[str, ...]

    @cached_property
    def key(self) -> str:
        """Digest of setting, method, trials and difference, to know the row by."""
        gaps = [gap and vars(gap) for gap in (self.difference, self.over_baseline)]
        return sha256(canonical_json([self.setting, self.method, gaps, *self.trials]))

    def average(self, name: str) -> float:
        """Return the mean of base, new or h over datasets (and so over seeds)."""
        return mean(cell[name] for cell in self.datasets.values())

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return {
            "setting": self.setting,
            "changes": dict(self.changes),
            "method": self.method,
            **{name: self.average(name) for name in ("base", "new", "h")},
            "h_std": self.h_std,
            "difference": self.difference and vars(self.difference),
            "over_baseline": self.over_baseline and vars(self.over_baseline),
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
        baseline = _of(trials, setting.name, datasets, BASELINE) if BASELINE in methods else None
        for method in methods:
            found = _of(trials, setting.name, datasets, method)
            reference = _of(trials, REFERENCE, datasets, method)
            if setting.name == REFERENCE or _keys(found) != _keys(reference):
                gap = None if setting.name == REFERENCE else _difference(found, reference)
                over = _difference(found, baseline) if baseline and method != BASELINE else None
                rows.append(_row(setting, method, found, gap, over))
    return rows


def _of(trials: Trials, setting: str, datasets: Sequence[str], method: str) -> OfDatasets:
    return {dataset: trials[setting, dataset, method] for dataset in datasets}


def _keys(trials: OfDatasets) -> tuple[str, ...]:
    return tuple(trial.key for trial in trials.values())


def _difference(ours: OfDatasets, theirs: OfDatasets) -> Interval:
    gaps = [
        [one - other for one, other in zip(*rows, strict=True)]
        for rows in zip(_h(ours), _h(theirs), strict=True)
    ]
    return paired_bootstrap(gaps, seed=BOOTSTRAP_SEED)


def _row(
    setting: Setting,
    method: str,
    trials: OfDatasets,
    difference: Interval | None,
    over_baseline: Interval | None,
) -> Row:
    of_seeds = [mean(column) for column in zip(*_h(trials), strict=True)]
    seeds = [seed for trial in trials.values() for seed in trial.seeds.values()]
    terms = {term: None for seed in seeds for norms in seed["gradients"].values() for term in norms}
    inactive = {term: mean(term in seed["inactive"] for seed in seeds) for term in terms}
    return Row(
        setting=setting.name,
        changes=setting.changes,
        method=method,
        params=setting.params,
        datasets={
            name: {
                measure: mean(seed[measure] for seed in trial.seeds.values())
                for measure in ("base", "new", "h")
            }
            for name, trial in trials.items()
        },
        h_std=stdev(of_seeds) if len(of_seeds) > 1 else 0.0,
        difference=difference,
        over_baseline=over_baseline,
        gradients={term: dict(_norms(term, seeds)) for term in terms},
        inactive={term: share for term, share in inactive.items() if share},
        trials=_keys(trials),
    )


def _h(trials: OfDatasets) -> list[list[float]]:
    """Return H by dataset and seed."""
    return [[seed["h"] for seed in trial.seeds.values()] for trial in trials.values()]


def _norms(term: str, seeds: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield each context a term is probed on, with the mean norm of its gradient there."""
    probes = [norms[term] for seed in seeds for norms in seed["gradients"].values()]
    for side, norms in zip(SIDES, zip(*probes, strict=True), strict=False):
        yield side, mean(norms)
