"""The tables of a page of results, from what was measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fdbpl.methods.registry import title_of
from fdbpl.reporting.ood_report import KIND_TITLES, KINDS_EXPLAINED
from fdbpl.reporting.tables import markdown, number
from studies.contrasts import TEMPLATE, TRANSFER, WHOLE
from studies.measures import Measures, Of

COLUMNS = ("base", "new", "H", "joint base", "joint new", "joint H", *TRANSFER)

Named = Mapping[str, Any]  # rows or columns by title


def folded(title: str, parts: Sequence[str]) -> str:
    """Return a section that a reader opens by a click: long tables stand behind the summary."""
    return "\n\n".join([f"### {title}", "<details><summary>Show</summary>", *parts, "</details>"])


def accuracies(measures: Measures) -> str:
    """Return the averages of every method, of what was measured of any."""
    rows = _rows(measures)
    columns = {
        one: one
        for one in COLUMNS
        if any(measures.mean(one, method) is not None for method in rows.values())
    }
    return _table("method", rows, columns, lambda method, one: number(measures.mean(one, method)))


def by_dataset(measures: Measures, shown: Sequence[str] = WHOLE) -> str:
    """Return some measures of every method and dataset, a cell for all of them."""
    columns = {name: measures.only(name.__eq__) for name in measures.datasets()}
    columns["average"] = measures

    def cell(method: str, one: Measures) -> str:
        return " / ".join(number(one.mean(measure, method)) for measure in shown)

    return _table(" / ".join(shown), _rows(measures), columns, cell)


def transfer(measures: Measures) -> Iterator[str]:
    """Yield the averages with their differences from the targets' own template, then targets."""
    kinds = {kind: kind for kind in TRANSFER if kind in measures.found}
    if not kinds:
        return
    targets = {
        name: (kind, name) for kind in ("source", *kinds) for name in measures.datasets(kind)
    }
    rows = _rows(measures, *list(kinds)[:1])

    def target(method: str, of: tuple[str, str]) -> str:
        return number(measures.values(of[0], method).get(of[1]))

    yield f"Learned on {measures.source}. Averages, with differences from {title_of(TEMPLATE)}:"
    yield _table("method", rows, kinds, lambda m, k: _beside(measures, (k, m), (k, TEMPLATE)))
    yield f"Accuracy over all classes: {measures.source} itself, then every target."
    yield _table("method", rows, targets, target)


def ood(measures: Measures) -> Iterator[str]:
    """Yield AUROC of every method's scores, and calibration errors."""
    kinds = {
        kind: kind for kind in (*KIND_TITLES.values(), "ECE") if f"energy, {kind}" in measures.found
    }
    rows = {
        f"{title}, {score}": (score, method)
        for title, method in _rows(measures, "energy, ECE").items()
        for score in measures.scores()
        if measures.values(f"{score}, ECE", method)
    }

    def cell(row: Of, kind: str) -> str:
        score, method = row
        return _beside(measures, (f"{score}, {kind}", method), (f"energy, {kind}", TEMPLATE))

    if rows:
        yield KINDS_EXPLAINED
        yield f"AUROC and calibration error, with differences from {title_of(TEMPLATE)}, energy:"
        yield _table("method, score", rows, kinds, cell)


def _table(corner: str, rows: Named, columns: Named, cell: Callable[[Any, Any], str]) -> str:
    """Return a table by its rows and columns, each by its title."""
    lines = ((title, *(cell(row, one) for one in columns.values())) for title, row in rows.items())
    return markdown([(corner, *columns), *lines])


def _rows(measures: Measures, measure: str = "base") -> dict[str, str]:
    return {title_of(method): method for method in measures.methods(measure)}


def _beside(measures: Measures, ours: Of, theirs: Of) -> str:
    """Return a mean and its difference from another."""
    gap = measures.difference(ours, theirs) if ours != theirs else None
    return number(measures.mean(*ours)) + (f", {gap}" if gap else "")
