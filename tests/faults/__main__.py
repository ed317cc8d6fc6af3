"""Faults at random, put into a small sound project: python -m tests.faults --trials 3000.

Of each it is told whether it was named, all was right afterwards, a result was lost, a wrong one
was accepted, or a traceback came. A trial is decided by --seed and its number. With --folder a
round goes on where it was interrupted; after one that found faults, those alone are tried again.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: threads survive no fork
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "agg")

import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click

from . import child
from .kinds import TRIALS, try_kind
from .log import Log
from .project import Project
from .table import table, write_table
from .trial import Trial

SERVED = ("stranger",)
"""Kinds that need servers; those take time of what runs beside them, so they come last."""


def lane(
    folder: Path, numbers: list[int], kinds: list[str], seed: int, seconds: float, log: Log
) -> list[Trial]:
    """Make a sound project, and try faults in it until the numbers or the time is up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end what was started
    project = Project(folder)
    project.make()
    until, found = time.monotonic() + seconds, []
    try:
        for number in sorted(numbers, key=lambda one: kinds[one % len(kinds)] in SERVED):
            if time.monotonic() > until:
                break
            trial = try_kind(project, kinds[number % len(kinds)], number, seed)
            found.append(trial)
            log.add(trial)
            if trial.is_bad:
                print(trial, file=sys.stderr, flush=True)
    finally:
        project.end()
    return found


def order(kinds: list[str]) -> list[str]:
    """Return kinds in turn, each as often as its weight says; all of them come early."""
    most = max(TRIALS[kind][1] for kind in kinds)
    return [kind for turn in range(most) for kind in kinds if turn < TRIALS[kind][1]]


@click.command(help=__doc__)
@click.option("--trials", default=100, show_default=True)
@click.option("--seconds", default=24 * 3600.0, help="After which no trial is begun.")
@click.option("--seed", default=0, show_default=True)
@click.option("--number", type=int, help="Of the one trial to try.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(TRIALS)), help="Only these.")
@click.option("--no-servers", is_flag=True, help="No kind that starts Prefect and MLflow.")
@click.option("--folder", type=click.Path(path_type=Path), help="To work in, again and again.")
@click.option("--lanes", default=2, show_default=True, help="Processes at once.")
@click.option("--page", type=click.Path(path_type=Path), help="In which the table is put.")
def main(
    trials: int,
    seconds: float,
    seed: int,
    number: int | None,
    kinds: tuple[str, ...],
    no_servers: bool,
    folder: Path | None,
    lanes: int,
    page: Path | None,
) -> None:
    child.import_all()
    turns = order([kind for kind in kinds or TRIALS if not (no_servers and kind in SERVED)])
    with tempfile.TemporaryDirectory(prefix="faults-") as made:
        place = (folder or Path(made)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        log = Log(place / f"seed-{seed}.jsonl")
        wanted = range(trials) if number is None else range(number, number + 1)
        found = [
            one
            for one in log.sound()
            if number is None
            and one.number in wanted
            and one.kind == turns[one.number % len(turns)]
        ]
        left = sorted({*wanted} - {one.number for one in found})
        mine = [left[n::lanes] for n in range(min(lanes, len(left)))]
        with ProcessPoolExecutor(max(1, len(mine)), get_context("fork")) as pool:
            runs = [
                pool.submit(lane, place / str(index), numbers, turns, seed, seconds, log)
                for index, numbers in enumerate(mine)
            ]
            found += [trial for run in runs for trial in run.result()]
        if len(found) == trials and not any(one.is_bad for one in found):
            log.end()
    if number is not None:
        print(*found, sep="\n")
    text = table(found)
    print(text)
    if page is not None:
        write_table(page, text)
    sys.exit(any(trial.is_bad for trial in found))


if __name__ == "__main__":
    main()
