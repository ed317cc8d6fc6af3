"""The comparison under base-to-new: all datasets and methods as JSON, tables and picture."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from fdbpl.evaluation.accuracy import over_datasets, over_seeds
from fdbpl.evaluation.record import Run
from fdbpl.methods.registry import title_of

JOINT = (
    "Base and new are each tested among their own classes; joint, the classes of both compete, as "
    "they do wherever nobody says which half an image is from. The linear probe, Tip-Adapter and "
    "GDA know base classes only: new ones are the template's, whose logits stand beside theirs "
    "where all compete. A memory is silent there."
)


def compare(runs: Mapping[str, Run], methods: Iterable[str], seeds: list[int]) -> dict[str, Any]:
    """Join the datasets' runs to `{"methods": {method: {"avg", "datasets"}}}`, in per cent.

    `avg` is over the datasets that tell something, and over all where none does.

    Raises:
        KeyError: a run lacks one of the methods or seeds.
    """
    joined: dict[str, Any] = {}
    for method in methods:
        datasets: dict[str, Any] = {}
        for dataset, run in runs.items():
            by_seed: Mapping[str, Any] = run.measures(method, seeds)
            datasets[dataset] = {**over_seeds(by_seed), "seeds": by_seed}
        averaged = {name: datasets[name] for name in telling(runs) or runs}
        joined[method] = {"avg": over_datasets(averaged), "datasets": datasets}
    return {"methods": joined}


def telling(runs: Mapping[str, Run]) -> list[str]:
    """Return the datasets with at least two classes in each half; of one, every answer is right."""
    return [name for name, run in runs.items() if 1 not in run.classes.values()]


def averages_table(comparison: Mapping[str, Any], datasets: Collection[str]) -> str:
    """Return the averages over some of the datasets as a Markdown table.

    Base, new and H where each half is tested by itself, then where the classes of both compete.
    """
    rows: list[tuple[str, ...]] = [
        ("method", "base", "new", "H", "joint base", "joint new", "joint H")
    ]
    for method, result in comparison["methods"].items():
        average = over_datasets({name: result["datasets"][name] for name in datasets})
        cells = (part[key] for part in (average, average["joint"]) for key in ("base", "new", "h"))
        rows.append((title_of(method), *map(number, cells)))
    return markdown(rows)


def datasets_table(comparison: Mapping[str, Any], shown: Collection[str]) -> str:
    """Return H of every method (rows) and dataset (columns), if shown, as a Markdown table."""
    return _datasets_table(
        "H",
        comparison,
        lambda name, cell: with_deviation(cell["h"], cell["h_std"]) if name in shown else "-",
    )


def joint_table(comparison: Mapping[str, Any]) -> str:
    """Return H where all classes compete, of every method and dataset, as a Markdown table."""
    return _datasets_table("joint H", comparison, lambda _, cell: number(cell["joint"]["h"]))


def _datasets_table(
    title: str, comparison: Mapping[str, Any], spell: Callable[[str, Mapping[str, Any]], str]
) -> str:
    methods = comparison["methods"]
    rows = [(title, *next(iter(methods.values()))["datasets"])]
    for method, result in methods.items():
        rows.append((title_of(method), *(spell(*one) for one in result["datasets"].items())))
    return markdown(rows)


def with_deviation(value: float, deviation: float) -> str:
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


def plot(comparison: Mapping[str, Any], datasets: Collection[str], figure: Any) -> None:
    """Draw H of every method, each half by itself and where all compete: averages and datasets."""
    methods = comparison["methods"]
    axes = figure.add_subplot()
    for row, result in enumerate(methods.values()):
        cells = [result["datasets"][name] for name in datasets]
        average = over_datasets({name: result["datasets"][name] for name in datasets})
        for index, (label, every, mean) in enumerate(
            (
                ("base and new each by itself", [cell["h"] for cell in cells], average["h"]),
                (
                    "all classes compete",
                    [cell["joint"]["h"] for cell in cells],
                    average["joint"]["h"],
                ),
            )
        ):
            place, colour = row + 0.18 * (2 * index - 1), f"C{index}"
            axes.plot(every, [place] * len(every), "|", color=colour, alpha=0.45)
            axes.plot(mean, place, "os"[index], color=colour, label=None if row else label)
    axes.set_yticks(range(len(methods)), [title_of(method) for method in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlabel(f"H of base and new accuracy, %: average of {len(datasets)} datasets, and each")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
