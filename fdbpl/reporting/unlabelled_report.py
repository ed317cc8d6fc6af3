"""The comparison of methods on datasets learned without classes, apart from base and new."""

from collections.abc import Iterable, Mapping
from statistics import mean, stdev
from typing import Any, BinaryIO

from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import markdown, with_deviation

KINDS = {
    "accuracy": "Learned from images without classes; accuracy over all classes in per cent:",
    "agreement": "No test image has a class, so no accuracy is known. Agreement with the teacher "
    "on held-out images in per cent:",
}
"""What was measured, and the line above its table."""


def summarise(
    records: Mapping[str, Mapping[str, Any]], methods: Iterable[str], seeds: Iterable[int]
) -> dict[str, Any]:
    """Join records without halves to {dataset: {kind, images, methods: {method: cell}}}.

    A cell has the mean and the sample deviation over seeds, and every seed. Methods that a record
    has not, for want of labels, stand in none of its cells.

    Raises:
        KeyError: a record lacks one of the seeds.
    """
    wanted = [str(seed) for seed in seeds]
    listed = list(methods)
    return {
        dataset: {
            "kind": kind,
            "images": record["test_images"]["all"],
            "methods": {
                method: _cell({s: record["methods"][method]["seeds"][s][kind] for s in wanted})
                for method in listed
                if method in record["methods"]
            },
        }
        for dataset, record in records.items()
        for kind in [_kind(record)]
    }


def _kind(record: Mapping[str, Any]) -> str:
    return "accuracy" if record["protocol"] == "all-classes" else "agreement"


def _cell(seeds: Mapping[str, float]) -> dict[str, Any]:
    values = list(seeds.values())
    deviation = stdev(values) if len(values) > 1 else 0.0
    return {"mean": mean(values), "std": deviation, "seeds": dict(seeds)}


def tables(summary: Mapping[str, Any]) -> list[str]:
    """Return a line and a Markdown table, methods by datasets, for each kind of measure."""
    parts = []
    for kind, line in KINDS.items():
        datasets = {name: one for name, one in summary.items() if one["kind"] == kind}
        methods = dict.fromkeys(m for one in datasets.values() for m in one["methods"])
        if methods:
            rows = [("method", *(f"{name}, {one['images']:,}" for name, one in datasets.items()))]
            for method in methods:
                cells = (_text(one["methods"].get(method)) for one in datasets.values())
                rows.append((title_of(method), *cells))
            parts += [line, markdown(rows)]
    nothing = [name for name, one in summary.items() if not one["methods"]]
    if nothing:
        parts.append(f"No test image and none held out, so nothing measured: {', '.join(nothing)}")
    return parts


def _text(cell: Mapping[str, Any] | None) -> str:
    return "-" if cell is None else with_deviation(cell["mean"], cell["std"])


def plot(summary: Mapping[str, Any], file: BinaryIO) -> None:
    """Draw one panel a dataset: a mark a method, the deviation over seeds as a bar."""
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    methods = list(dict.fromkeys(m for one in summary.values() for m in one["methods"]))
    figure = Figure(
        figsize=(2 + 3 * len(summary), 1.6 + 0.3 * len(methods)), layout="constrained", dpi=130
    )
    panels = figure.subplots(1, len(summary), sharey=True, squeeze=False)[0]
    for axes, (name, one) in zip(panels, summary.items(), strict=True):
        having = [place for place, method in enumerate(methods) if method in one["methods"]]
        cells = [one["methods"][methods[place]] for place in having]
        axes.errorbar(
            [cell["mean"] for cell in cells], having, xerr=[cell["std"] for cell in cells], fmt="o"
        )
        axes.set_title(name)
        axes.set_xlabel(f"{one['kind']}, %")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(methods)), [title_of(method) for method in methods])
    panels[0].invert_yaxis()
    figure.savefig(file, format="png", metadata={"Software": None})
