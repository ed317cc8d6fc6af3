"""kill -9 at random moments: python -m bench.kills --kills 100 --workers processes

A build whose encoder takes its time is killed again and again: all of it at once, as on a machine
that loses power; its main process alone; or one worker alone, which the build should survive.
Whenever a build ends by itself, its cache must be, byte for byte, that of an undisturbed build by
one process, no worker may outlive it, and what was encoded more than once may be no more than the
chunks that the killed had in work. Then all begins anew with an empty store.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from bench.quick import QuickEncoder, quick_build, quick_plan
from fdbpl.cache import build as building
from fdbpl.cache.params import WorkerParams
from fdbpl.regions.plan import Plan
from fdbpl.system import processes
from flows.workers import open_pool

IMAGES, CROPS = 26, 20
CHUNK_VIEWS = 20
COUNT = 2
KINDS = ("threads", "processes", "dask", "ray")
VICTIMS = {
    "threads": ("all",),
    "processes": ("all", "main", "worker"),
    "dask": ("all", "worker"),
    "ray": ("all", "worker"),
}
WORKER_SIGNS = ("multiprocessing.spawn", "ray::_run")
LEAVE_SECONDS = 30.0


@dataclass
class Tally:
    """What came of it.

    kills: processes hit; builds: that ended by themselves; views: in these; encoded: how often one
    was encoded; lost: most that the killed may have had in work; faults: what did not hold.
    """

    kills: int
    builds: int
    views: int
    encoded: int
    lost: int
    faults: list[str]

    def __str__(self) -> str:
        again = self.encoded - self.views
        return (
            f"{self.kills} kills, {self.builds} builds ended by themselves, all with the bytes of "
            f"an undisturbed one; of {self.views:,} views {again:,} were encoded again, at most "
            f"{self.lost:,} were in work when killed; {len(self.faults)} faults"
        )


def disturb(
    folder: Path,
    kind: str,
    kills: int,
    *,
    seed: int = 0,
    seconds: float = 0.004,
    victims: tuple[str, ...] = (),
) -> Tally:
    """Kill builds with `kind` workers `kills` times in all, and let the last one end.

    folder: to work in; seconds: the encoder takes for a view; victims: of VICTIMS, all when none.
    """
    plan = quick_plan(folder / "images", IMAGES, CROPS)
    plan.save(folder / "plan")
    views = len(plan.regions) + len(plan.test)
    wanted = _undisturbed(plan, folder)
    chance = random.Random(seed)
    span = 1.2 * views * seconds / COUNT
    tally = Tally(0, 0, 0, 0, 0, [])
    code = 1
    while tally.kills < kills or code:
        build = _start(folder, kind, seconds)
        while True:
            delay = chance.uniform(0, span) if tally.kills < kills else None
            with suppress(subprocess.TimeoutExpired):
                code = build.wait(delay)
                break
            if _kill(build, chance.choice(victims or VICTIMS[kind])):
                tally.kills += 1
                tally.lost += COUNT * CHUNK_VIEWS
        if left := _wait_for_none(folder):
            tally.faults.append(f"{left} processes outlived their build")
        if code == 0:
            tally.builds += 1
            tally.views += views
            tally.encoded += (folder / "log").stat().st_size
            if _contents(folder / "cache") != wanted:
                tally.faults.append("a cache with other bytes")
            for name in ("store", "cache"):
                shutil.rmtree(folder / name)
            (folder / "log").unlink()
        elif code > 0:
            tally.faults.append((folder / "said").read_text()[-2000:])
            break
    if not tally.views <= tally.encoded <= tally.views + tally.lost:
        tally.faults.append(f"encoded {tally.encoded} times, {tally.views} views")
    return tally


def _undisturbed(plan: Plan, folder: Path) -> dict[str, bytes]:
    where = [str(folder / name) for name in ("store-undisturbed", "cache-undisturbed")]
    quick_build(plan, folder / "images", *where, QuickEncoder())
    return _contents(folder / "cache-undisturbed")


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _start(folder: Path, kind: str, seconds: float) -> "subprocess.Popen[bytes]":
    """Start a build and wait until it encodes."""
    before = _size(folder / "log")
    words = [sys.executable, "-m", "bench.kills", "--build", str(folder), "--workers", kind]
    with (folder / "said").open("wb") as said:
        build = subprocess.Popen(
            [*words, "--seconds", str(seconds)],
            stdout=said,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, processes.MARK: str(folder)},
            start_new_session=True,
        )
    while _size(folder / "log") == before and build.poll() is None:
        time.sleep(0.01)
    return build


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _kill(build: "subprocess.Popen[bytes]", victim: str) -> bool:
    """Kill one victim or all; tell whether there was one."""
    with suppress(psutil.NoSuchProcess):
        main = psutil.Process(build.pid)
        below = main.children(recursive=True)
        workers = [one for one in below if any(s in " ".join(_words(one)) for s in WORKER_SIGNS)]
        chosen = {
            "all": [main, *below],
            "main": [main],
            "worker": random.sample(workers, min(1, len(workers))),
        }[victim]
        for one in chosen:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        return bool(chosen)
    return False


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _wait_for_none(folder: Path) -> int:
    """Wait until all that the build started has ended; return how many had to be ended."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while (left := processes.marked(str(folder))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    return len(left)


def _build(folder: Path, kind: str, seconds: float) -> None:
    building.CHUNK_VIEWS = CHUNK_VIEWS
    encoder = QuickEncoder(seconds=seconds, log=str(folder / "log"))
    plan = Plan.load(folder / "plan")
    with open_pool(WorkerParams(kind=kind, count=COUNT)) as pool:
        where = [str(folder / name) for name in ("store", "cache")]
        quick_build(plan, folder / "images", *where, encoder, pool)


@click.command(help=__doc__)
@click.option("--kills", default=100, show_default=True)
@click.option("--workers", type=click.Choice(KINDS), default="processes", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--seconds", default=0.004, show_default=True, help="That a view's encoding takes.")
@click.option("--build", type=click.Path(path_type=Path), hidden=True)
def main(kills: int, workers: str, seed: int, seconds: float, build: Path | None) -> None:
    if build:
        _build(build, workers, seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        tally = disturb(Path(folder), workers, kills, seed=seed, seconds=seconds)
    click.echo(f"{workers}: {tally}")
    for fault in tally.faults:
        click.echo(fault)
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
