"""Small records in the formats of the stages compare, transfer and rejection."""

from collections.abc import Mapping
from typing import Any

from fdbpl.evaluation.accuracy import harmonic_mean

SEEDS = ("1", "2", "3")
DATASETS = ("objects", "icons", "flowers", "textures")
LIFT = {"zero_shot_generic": 0, "coop": 3, "kdpl": 1, "fdbpl": 2}


def comparison(lift: Mapping[str, float] = LIFT, *, datasets: tuple[str, ...] = DATASETS) -> Any:
    """Methods that are better by their `lift`, each dataset and seed a little different."""
    methods: dict[str, Any] = {}
    for method, more in lift.items():
        cells = {}
        for place, dataset in enumerate(datasets):
            seeds = {}
            for seed in SEEDS:
                base = 50 + place + more + 0.01 * int(seed) * (place - 1) * more
                seeds[seed] = {"base": base, "new": base + 9, "h": harmonic_mean(base, base + 9)}
            cells[dataset] = {**seeds["2"], "h_std": 0.5, "seeds": seeds}
        methods[method] = {"avg": {"base": 1.0, "new": 1.0, "h": 1.0}, "datasets": cells}
    return {"methods": methods}


def transfer(lift: Mapping[str, float] = LIFT) -> Any:
    targets = {"icons": "cross-dataset", "flowers": "cross-dataset", "objects-hard": "shifted"}
    methods = {
        method: {
            "seeds": {
                seed: {"objects": 70, **{name: 40 + more + 5 * len(name) for name in targets}}
                for seed in SEEDS
            },
            "targets": {},
            "avg": {},
        }
        for method, more in lift.items()
    }
    kinds = {name: {"kind": kind} for name, kind in targets.items()}
    return {"source": "objects", "targets": kinds, "methods": methods}


def rejection(ours: float = 80, theirs: float = 70) -> Any:
    def cells(value: float) -> Any:
        datasets = {
            name: {"auroc": value, "seeds": {seed: {"auroc": value, "fpr95": 9} for seed in SEEDS}}
            for name in DATASETS
        }
        without = {name: cell for name, cell in datasets.items() if name != "textures"}
        return {"empty": {"datasets": without}, "new-class": {"datasets": datasets}}

    def ece(value: float) -> Any:
        return {
            "datasets": {
                name: {"ece": value, "seeds": {seed: {"ece": value} for seed in SEEDS}}
                for name in DATASETS
            }
        }

    return {
        "methods": {
            "kdpl": {"ece": ece(7), "scores": {"max_softmax": cells(theirs), "energy": cells(75)}},
            "fdbpl": {"ece": ece(5), "scores": {"max_softmax": cells(60), "combined": cells(ours)}},
        }
    }
