"""Small records in the formats of the stages compare, transfer and ood."""

from collections.abc import Mapping, Sequence
from typing import Any

from fdbpl.evaluation.accuracy import harmonic_mean

SEEDS = ("1", "2", "3")
DATASETS = ("objects", "icons", "flowers", "textures")
LIFT = {
    **{"zero_shot": 0, "gda": 4, "gda_teacher": 2.5, "coop": 3, "kdpl": 1},
    **{"template_bridge": 2, "coop_bridge": 2.5, "kdpl_bridge": 1.5, "fdbpl": 2},
}
"""Points that methods are better by than the template."""


def _halves(base: float, new: float) -> dict[str, float]:
    return {"base": base, "new": new, "h": harmonic_mean(base, new)}


def _over(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    base, new = (sum(seed[half] for seed in seeds) / len(seeds) for half in ("base", "new"))
    return _halves(base, new)


def comparison(lift: Mapping[str, float] = LIFT, *, datasets: Sequence[str] = DATASETS) -> Any:
    """Methods that are better by their `lift`, each dataset and seed a little different."""
    methods: dict[str, Any] = {}
    for method, more in lift.items():
        cells: dict[str, Any] = {}
        for place, dataset in enumerate(datasets):
            seeds: dict[str, Any] = {}
            for seed in SEEDS:
                base = 50 + place + more * (1 + 0.02 * int(seed) * (place - 1))
                joint = _halves(base - 4, base - 6)
                seeds[seed] = {**_halves(base, base + 9 - more / 2), "joint": joint}
            runs = list(seeds.values())
            joint = _over([run["joint"] for run in runs])
            cells[dataset] = {**_over(runs), "h_std": 0.5, "joint": joint, "seeds": seeds}
        found = list(cells.values())
        average = {**_over(found), "h_mean": 0.0, "joint": _over([one["joint"] for one in found])}
        methods[method] = {"avg": average, "datasets": cells}
    return {"methods": methods, "transfer": transfer()}


def transfer(lift: Mapping[str, float] = LIFT) -> Any:
    """Accuracies on three targets, for methods with prompts."""
    targets = {
        **{"icons": "cross-dataset", "flowers": "cross-dataset", "textures": "cross-dataset"},
        "objects-hard": "shifted",
    }
    methods = {
        method: {
            "avg": {"source": 60 + more},
            "targets": {name: {"mean": 40 + more + 5 * len(name), "std": 0.1} for name in targets},
        }
        for method, more in lift.items()
        if not method.startswith("gda")
    }
    kinds = {name: {"kind": kind} for name, kind in targets.items()}
    return {"source": "objects", "targets": kinds, "methods": methods}


def ood(ours: float = 80) -> Any:
    """Ours by two scores and the template's energy of 75, near OOD on all datasets alone."""

    def of(values: Mapping[str, float]) -> Any:
        def kinds(value: float) -> Any:
            cells = {name: {"auroc": value + 0.1 * len(name)} for name in DATASETS}
            without = {name: cell for name, cell in cells.items() if name != "textures"}
            return {"empty": {"datasets": without}, "near": {"datasets": cells}}

        return {
            "ece": {"datasets": {name: {"ece": 5.0} for name in DATASETS}},
            "scores": {score: kinds(value) for score, value in values.items()},
        }

    return {
        "methods": {
            "zero_shot": of({"energy": 75.0}),
            "zero_shot_generic": of({"energy": 70.0, "no_prompt": 72.0}),
            "fdbpl": of({"energy": 75.0, "energy_mahalanobis": ours}),
        }
    }
