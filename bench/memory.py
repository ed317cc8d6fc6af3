"""Peak memory of building, of resuming and of streaming: python -m bench.memory --out memory.md

The encoder costs nothing and has no model, so all that is measured is the cache's: what a process
held at most beyond what it held with its modules loaded. Each number is of a process of its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

from bench.quick import QuickEncoder, quick_build, quick_plan
from fdbpl.cache import open_cache
from fdbpl.cache.stream import FeatureStream
from fdbpl.files import write_whole
from fdbpl.machine import machine
from fdbpl.plan import Plan

SIZES = "10_000,100_000,1_000_000"
CROPS = 500
DIM = 512
STREAM_BYTES = 256 << 20
STEP = 1024
STEPS = ("build", "rebuild", "stream")
WORDS = {
    "build": "every region encoded",
    "rebuild": "every region found in the store",
    "stream": f"one epoch in random order, {STREAM_BYTES >> 20} MiB asked for",
}


def measure(step: str, folder: Path) -> dict[str, float]:
    """Run one step in this process; return MiB at most and seconds."""
    before = _peak()
    {"build": _build, "rebuild": _build, "stream": _stream}[step](folder)
    return {"mib": (_peak() - before) / 1024}


def _peak() -> int:
    """KiB that this process held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _build(folder: Path) -> None:
    plan = Plan.load(folder / "plan")
    where = [str(folder / name) for name in ("store", "cache")]
    quick_build(plan, folder / "images", *where, QuickEncoder(dim=DIM, batch_size=64))


def _stream(folder: Path) -> None:
    cache = open_cache(folder / "cache")
    rows = cache.manifest.tables["train"].rows
    order = np.random.default_rng(0).permutation(rows)
    steps = [order[start : start + STEP] for start in range(0, rows, STEP)]
    stream = FeatureStream(cache, "train", memory=STREAM_BYTES)
    for features in stream.in_order(steps):
        assert features.shape[1] == DIM


@click.command(help=__doc__)
@click.option("--sizes", default=SIZES, show_default=True, help="Regions, at least 1,000 each.")
@click.option("--out", type=click.Path(path_type=Path), help="The table to write.")
@click.option("--step", type=click.Choice(STEPS), hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(sizes: str, out: Path | None, step: str | None, folder: Path | None) -> None:
    if step and folder:
        click.echo(json.dumps(measure(step, folder)))
        return
    counts = [int(size) for size in sizes.split(",")]
    found: dict[str, list[str]] = {name: [] for name in STEPS}
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            quick_plan(root / "images", 1 + count // CROPS, CROPS).save(root / "plan")
            for one in STEPS:
                found[one].append(f"{_in_process(one, root)['mib']:,.0f}")
                click.echo(f"{count:,} regions, {one}: {found[one][-1]} MiB")
    heads = " | ".join(f"{count:,} regions" for count in counts)
    lines = [
        f"| MiB at most, {DIM}-d float16 | {heads} |",
        f"| --- | {' | '.join('---:' for _ in counts)} |",
        *(f"| {one}: {WORDS[one]} | {' | '.join(found[one])} |" for one in STEPS),
        "",
        f"{'; '.join(machine())}. `python -m bench.memory --sizes {sizes}`",
    ]
    click.echo("\n".join(lines))
    if out:
        write_whole(out, ("\n".join(lines) + "\n").encode())


def _in_process(step: str, folder: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "bench.memory", "--step", step, "--folder", str(folder)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


if __name__ == "__main__":
    main()
