"""The comparison where all classes are learned: accuracy by method, dataset and number of shots."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from fdbpl.evaluation.record import Measures, Run
from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import markdown, number, with_deviation

KINDS = {
    "accuracy": "All classes learned, all competing; accuracy in per cent",
    "agreement": "No test image has a class, so no accuracy is known. Agreement with the teacher "
    "on held-out images in per cent",
}
"""What is measured of a dataset, and the line above its tables."""

ACROSS = 5  # panels
PANEL = 1.75  # inches


def summarise(
    runs: Mapping[str, Mapping[str, Run]], methods: Sequence[str], seeds: list[int]
) -> dict[str, Any]:
    """Join runs, by dataset and number of shots, to what compare.json says of all classes.

    `datasets` has the kind of measure and the count of test images of each; `methods` has for each
    method `datasets`, by name and shots the mean, the sample deviation over seeds and every seed,
    and `avg`, by shots the average over datasets with accuracies: None for a method that lacks one
    of them, for want of labels.

    Raises:
        KeyError: a run lacks one of the seeds.
    """
    about = {name: _about(by_shots) for name, by_shots in runs.items()}
    found = {
        method: {
            name: {
                shots: _cell(run.measures(method, seeds), about[name]["kind"])
                for shots, run in by_shots.items()
            }
            for name, by_shots in runs.items()
            if all(method in run.methods for run in by_shots.values())
        }
        for method in methods
    }
    counts = list(dict.fromkeys(shots for by_shots in runs.values() for shots in by_shots))
    known = [name for name, one in about.items() if one["kind"] == "accuracy"]
    return {
        "datasets": about,
        "methods": {
            method: {
                "avg": {
                    shots: mean(of[name][shots]["mean"] for name in known)
                    if known and all(name in of for name in known)
                    else None
                    for shots in counts
                },
                "datasets": of,
            }
            for method, of in found.items()
            if of
        },
    }


def _about(by_shots: Mapping[str, Run]) -> dict[str, Any]:
    cells = [c for run in by_shots.values() for of in run.methods.values() for c in of.values()]
    is_known = any("accuracy" in cell.measures for cell in cells)
    images = next(iter(by_shots.values())).test_images["all"]
    return {"kind": "accuracy" if is_known else "agreement", "test_images": images}


def _cell(seeds: Mapping[str, Measures], kind: str) -> dict[str, Any]:
    by_seed: dict[str, Any] = {seed: measures[kind] for seed, measures in seeds.items()}
    values = list(by_seed.values())
    deviation = stdev(values) if len(values) > 1 else 0.0
    return {"mean": mean(values), "std": deviation, "seeds": by_seed}


def tables(summary: Mapping[str, Any]) -> list[str]:
    """Return lines and Markdown tables: methods by shots, averages first and then each dataset.

    Of one number of shots: methods by datasets.
    """
    counts = _counts(summary)
    parts = []
    for kind, line in KINDS.items():
        names = [name for name, one in summary["datasets"].items() if one["kind"] == kind]
        methods = {
            method: of
            for method, of in summary["methods"].items()
            if any(name in of["datasets"] for name in names)
        }
        if not methods:
            continue
        if len(counts) == 1:
            parts += [f"{line}:", _by_dataset(summary, names, methods, counts[0], kind)]
            continue
        parts.append(f"{line}, by shots of each class:")
        if kind == "accuracy" and len(names) > 1:
            head: tuple[str, ...] = (f"average of {len(names)}", *counts)
            rows = [
                (title_of(m), *(number(of["avg"][n]) for n in counts)) for m, of in methods.items()
            ]
            parts.append(markdown([head, *rows]))
        for name in names:
            rows = [
                (title_of(method), *(_text(of["datasets"][name].get(n)) for n in counts))
                for method, of in methods.items()
                if name in of["datasets"]
            ]
            parts.append(markdown([(_head(summary, name), *counts), *rows]))
    measured = {name for of in summary["methods"].values() for name in of["datasets"]}
    nothing = [name for name in summary["datasets"] if name not in measured]
    if nothing:
        parts.append(f"No test image and none held out, so nothing measured: {', '.join(nothing)}")
    return parts


def _by_dataset(
    summary: Mapping[str, Any],
    names: Sequence[str],
    methods: Mapping[str, Any],
    shots: str,
    kind: str,
) -> str:
    with_average = kind == "accuracy" and len(names) > 1
    head = ["method", *(_head(summary, name) for name in names)] + ["average"] * with_average
    rows = [
        (
            title_of(method),
            *(_text(of["datasets"].get(name, {}).get(shots)) for name in names),
            *[number(of["avg"][shots])] * with_average,
        )
        for method, of in methods.items()
    ]
    return markdown([tuple(head), *rows])


def _head(summary: Mapping[str, Any], name: str) -> str:
    return f"{name}, {summary['datasets'][name]['test_images']:,}"


def _text(cell: Mapping[str, Any] | None) -> str:
    return "-" if cell is None else with_deviation(cell["mean"], cell["std"])


def _counts(summary: Mapping[str, Any]) -> list[str]:
    return list(next(iter(summary["methods"].values()))["avg"]) if summary["methods"] else ["-"]


def height(summary: Mapping[str, Any]) -> float:
    """Return the inches that `plot` takes."""
    methods = len(summary["methods"])
    if len(_counts(summary)) == 1:
        return 1.6 + 0.3 * methods
    return 0.8 + PANEL * -(-methods // ACROSS)


def plot(summary: Mapping[str, Any], figure: Any) -> None:
    """Draw a curve over shots for each method, among all others in grey; of one number, marks."""
    if len(_counts(summary)) == 1:
        _plot_marks(summary, figure)
    else:
        _plot_curves(summary, figure)


def _plot_curves(summary: Mapping[str, Any], figure: Any) -> None:
    """Draw a panel a method: nineteen curves in one could not be told apart."""
    counts, methods = _counts(summary), summary["methods"]
    kinds = {one["kind"] for one in summary["datasets"].values()}
    places = _places(counts)
    curves = {method: _curve(of, counts) for method, of in methods.items()}
    down = -(-len(methods) // ACROSS)
    panels = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (method, curve) in zip(panels, curves.items(), strict=False):
        for other in curves.values():
            axes.plot(places, other, color="0.85", linewidth=0.8)
        axes.plot(places, curve, "o-", color="C0", markersize=3)
        axes.set_title(title_of(method), fontsize=8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, counts, fontsize=7)
        axes.set_xticks([], minor=True)
        axes.tick_params(axis="y", labelsize=7)
        axes.grid(alpha=0.3)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    figure.supxlabel("shots of each class", fontsize=9)
    figure.supylabel(f"{' or '.join(sorted(kinds))}, %, average of datasets", fontsize=9)


def _places(counts: Sequence[str]) -> list[int]:
    """Return where numbers of shots stand on the axis; all images one doubling further."""
    numbers = [int(count) for count in counts if count != "all"]
    return [int(count) if count != "all" else 2 * numbers[-1] for count in counts]


def _curve(of: Mapping[str, Any], counts: Sequence[str]) -> list[float]:
    """Return the averages; of a method that has none, those over the datasets that it has."""
    cells = of["datasets"].values()
    return [
        of["avg"][n] if of["avg"][n] is not None else mean(cell[n]["mean"] for cell in cells)
        for n in counts
    ]


def _plot_marks(summary: Mapping[str, Any], figure: Any) -> None:
    """Draw one panel a dataset: a mark a method, the deviation over seeds as a bar."""
    methods, (shots,) = list(summary["methods"]), _counts(summary)
    panels = figure.subplots(1, len(summary["datasets"]), sharey=True, squeeze=False)[0]
    for axes, (name, about) in zip(panels, summary["datasets"].items(), strict=True):
        found = {
            place: summary["methods"][method]["datasets"][name][shots]
            for place, method in enumerate(methods)
            if name in summary["methods"][method]["datasets"]
        }
        means, deviations = ([cell[key] for cell in found.values()] for key in ("mean", "std"))
        axes.errorbar(means, list(found), xerr=deviations, fmt="o", markersize=4)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(f"{about['kind']}, %", fontsize=8)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(methods)), [title_of(method) for method in methods])
    panels[0].invert_yaxis()
