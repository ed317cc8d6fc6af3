"""Progress of long work, on standard error and only where somebody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_SHOWN: ContextVar[Progress | None] = ContextVar("shown", default=None)

Report = Callable[[int, int], None]
"""Called with the steps done so far and the steps there are in all."""


def silent(done: int, total: int) -> None:
    """Report to nobody."""


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show a bar while the block runs, moved by the function it is given.

    Within another such block the bar stands below the other's.
    """
    outer = _SHOWN.get()
    if outer is not None:
        task = outer.add_task(title, total=None)
        try:
            yield lambda done, total: outer.update(task, completed=done, total=total)
        finally:
            outer.remove_task(task)
        return
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        token = _SHOWN.set(bar)
        try:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        finally:
            _SHOWN.reset(token)
