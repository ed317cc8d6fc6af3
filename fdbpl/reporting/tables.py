"""The comparison: one table over all datasets and methods, as JSON, text and picture."""

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from fdbpl.evaluation.accuracy import over_datasets, over_seeds

TITLES = {
    "zero_shot": "zero-shot",
    "zero_shot_generic": 'zero-shot, "a photo of a"',
    "zero_shot_ensemble": "zero-shot, ensemble",
    "teacher": "teacher",
    "linear_probe": "linear probe",
    "tip_adapter": "Tip-Adapter",
    "gda": "GDA",
    "coop": "CoOp",
    "kgcoop": "KgCoOp",
    "kdpl": "KDPL",
    "kdpl_w": "KDPL + w",
    "released": "FDBPL, released",
    "paper": "FDBPL, paper",
    "fdbpl_prompts": "FDBPL, ours, prompts alone",
    "fdbpl": "FDBPL, ours",
    "imported": "imported",
}

BASE_ONLY = "A dash: the method is a classifier of base classes only, so it has no new and no H."


def compare(
    records: Mapping[str, Mapping[str, Any]], methods: Iterable[str], seeds: Iterable[int]
) -> dict[str, Any]:
    """Join the datasets' records to `{"methods": {method: {"avg", "datasets"}}}`, in per cent.

    Raises:
        KeyError: a record lacks one of the methods or seeds.
    """
    joined: dict[str, Any] = {}
    wanted = [str(seed) for seed in seeds]
    for method in methods:
        datasets: dict[str, Any] = {}
        for dataset, record in records.items():
            results = record["methods"][method]["seeds"]
            by_seed = {
                seed: {key: results[seed][key] for key in ("base", "new", "h")} for seed in wanted
            }
            datasets[dataset] = {**over_seeds(by_seed), "seeds": by_seed}
        joined[method] = {"avg": over_datasets(datasets), "datasets": datasets}
    return {"methods": joined}


def averages_table(comparison: Mapping[str, Any]) -> str:
    """Return the averages over all datasets as a Markdown table, and a line on its dashes."""
    rows: list[tuple[str, ...]] = [("method", "base", "new", "H")]
    averages = [result["avg"] for result in comparison["methods"].values()]
    for method, average in zip(comparison["methods"], averages, strict=True):
        rows.append((TITLES[method], *(number(average[key]) for key in ("base", "new", "h"))))
    known = [average["h"] is not None for average in averages]
    return markdown(rows) + ("" if all(known) else f"\n\n{BASE_ONLY}")


def datasets_table(comparison: Mapping[str, Any]) -> str:
    """Return H of every dataset (rows) and method (columns) as a Markdown table."""
    methods = comparison["methods"]
    datasets = next(iter(methods.values()))["datasets"]
    rows = [("H", *(TITLES[method] for method in methods))]
    for dataset in datasets:
        cells = [methods[method]["datasets"][dataset] for method in methods]
        rows.append((dataset, *(with_deviation(cell["h"], cell["h_std"]) for cell in cells)))
    rows.append(("average", *(number(methods[method]["avg"]["h"]) for method in methods)))
    return markdown(rows)


def with_deviation(value: float | None, deviation: float | None) -> str:
    """Return a cell of a table: the value, and its deviation over seeds where there is one."""
    return f"{number(value)} ± {deviation:.2f}" if deviation else number(value)


def number(value: float | None) -> str:
    """Return a cell of a table: two decimals, or a dash for what is not known."""
    return "-" if value is None else f"{value:.2f}"


def markdown(rows: list[tuple[str, ...]]) -> str:
    """Return rows, the first of them titles, as a Markdown table aligned for reading as text."""
    widths = [  # a rule has a dash and a colon
        max(2, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))
    ]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = (
        f"| {'-' * widths[0]} | " + " | ".join(f"{'-' * (width - 1)}:" for width in widths[1:])
    ) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def plot(comparison: Mapping[str, Any], file: BinaryIO) -> None:
    """Draw H per dataset, one mark a method that has one, the deviation over seeds as a bar."""
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    methods = {
        method: result
        for method, result in comparison["methods"].items()
        if result["avg"]["h"] is not None
    }
    datasets = list(next(iter(comparison["methods"].values()))["datasets"])
    figure = Figure(figsize=(5 + 0.8 * len(datasets), 4.8), layout="constrained", dpi=130)
    axes = figure.add_subplot()
    marks = "os^DvP*X<>hdp"
    for index, (method, result) in enumerate(methods.items()):
        cells = [result["datasets"][dataset] for dataset in datasets]
        offset = (index - (len(methods) - 1) / 2) * 0.8 / len(methods)
        axes.errorbar(
            [position + offset for position in range(len(datasets))],
            [cell["h"] for cell in cells],
            yerr=[cell["h_std"] for cell in cells],
            fmt=marks[index % len(marks)],
            markersize=5,
            linewidth=1,
            label=f"{TITLES[method]}: {result['avg']['h']:.1f}",
        )
    axes.set_xticks(range(len(datasets)), datasets, rotation=30, ha="right")
    axes.set_ylabel("H of base and new accuracy, %")
    axes.grid(axis="y", alpha=0.3)
    if methods:
        axes.legend(title="average H", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(file, format="png", metadata={"Software": None})
