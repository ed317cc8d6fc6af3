"""How one method stands against another: the paired difference, and the word for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fdbpl.evaluation.statistics import Interval, paired_bootstrap

BOOTSTRAP_SEED = 0

Table = Mapping[str, Mapping[str, float]]
"""Values by dataset and seed."""

WORDS = {1: "beats", 0: "is not distinguishable from", -1: "does not beat, and falls behind,"}


def difference(ours: Table, theirs: Table) -> Interval:
    """Return how much more `ours` is than `theirs`, paired by dataset and seed."""
    gaps = [
        [value - theirs[dataset][seed] for seed, value in seeds.items()]
        for dataset, seeds in ours.items()
    ]
    return paired_bootstrap(gaps, seed=BOOTSTRAP_SEED)


def accuracies(
    comparison: Mapping[str, Any], method: str, datasets: Sequence[str], measure: str
) -> Table | None:
    """Return base, new or h of a comparison; None where the method has no such measure."""
    cells = comparison["methods"][method]["datasets"]
    table = {
        dataset: {seed: result[measure] for seed, result in cells[dataset]["seeds"].items()}
        for dataset in datasets
    }
    return None if any(None in seeds.values() for seeds in table.values()) else table


def transferred(transfer: Mapping[str, Any], method: str, targets: Sequence[str]) -> Table:
    """Return a transfer's accuracies by target and seed."""
    seeds = transfer["methods"][method]["seeds"]
    return {target: {seed: found[target] for seed, found in seeds.items()} for target in targets}


def aurocs(
    rejection: Mapping[str, Any], method: str, score: str, kind: str, datasets: Sequence[str]
) -> Table | None:
    """Return AUROC by dataset and seed, of the datasets with outsiders of this kind, if any."""
    cells = rejection["methods"][method]["scores"][score].get(kind, {"datasets": {}})["datasets"]
    table = {
        dataset: {seed: one["auroc"] for seed, one in cells[dataset]["seeds"].items()}
        for dataset in datasets
        if dataset in cells
    }
    return table or None


def mean_of(table: Table) -> float:
    """Return the mean over datasets of the means over seeds."""
    means = [sum(seeds.values()) / len(seeds) for seeds in table.values()]
    return sum(means) / len(means)


def verdict(ours: str, theirs: str, measure: str, gap: Interval) -> str:
    """Say in plain words how `ours` stands against `theirs`."""
    return f"{ours} {WORDS[gap.sign]} {theirs} in {measure}: {gap} points."
