"""The table of trials by kind, and its place in the docs."""

from collections.abc import Iterable
from pathlib import Path

from .outcome import Mark
from .trial import Trial

COLUMNS = tuple(Mark)
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"


def table(trials: Iterable[Trial]) -> str:
    """Return a table in Markdown: a row a kind, and one of all."""
    by_kind: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda one: one.kind):
        if trial.marks:
            by_kind.setdefault(trial.kind, []).append(trial)
    rows = [*by_kind.items(), ("all", [one for found in by_kind.values() for one in found])]
    head = ["kind", "tried", *COLUMNS]
    return "\n".join(
        [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
        + [
            _row([kind, len(found), *(_count(found, mark) for mark in COLUMNS)])
            for kind, found in rows
        ]
    )


def _count(trials: list[Trial], mark: Mark) -> int:
    return sum(mark in one.marks for one in trials)


def _row(cells: Iterable[object]) -> str:
    words = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells]
    return f"| {' | '.join(words)} |"


def write_table(page: Path, text: str) -> None:
    """Put a table between the marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
