"""Peak memory of building and of building again: python -m bench.memory --doc

The encoder costs nothing and has no model, so all that is measured is the cache's: what a process
held at most beyond what it held with its modules loaded. Each number is of a process of its own.
`--doc` writes the table into docs/workers.md. Reading is bench.stream's.
"""

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from bench.blocks import replace_block
from bench.cache_way import unit_features
from bench.quick import QuickEncoder, quick_build, quick_plan
from fdbpl.regions.plan import Plan
from fdbpl.system.machine import machine

DOC = Path(__file__).resolve().parents[1] / "docs" / "workers.md"
SIZES = "10_000,100_000,1_000_000"
CROPS = 500
STEPS = {"build": "every region encoded", "rebuild": "every region found in the store"}


@dataclass(frozen=True)
class FreeEncoder(QuickEncoder):
    """Unit features, whatever the pixels: many millions of regions take minutes."""

    def pixels(self, image: Image.Image, box: Any, flip: bool) -> np.ndarray:
        return np.zeros((3, 1, 1), np.float32)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return unit_features(len(pixels), self.dim).astype(np.float32)


def measure(folder: Path, dim: int) -> dict[str, float]:
    """Build in this process; return MiB at most."""
    before = _peak()
    plan = Plan.load(folder / "plan")
    where = [str(folder / name) for name in ("store", "cache")]
    quick_build(plan, folder / "images", *where, FreeEncoder(dim=dim, batch_size=64))
    return {"mib": (_peak() - before) / 1024}


def _peak() -> int:
    """KiB that this process held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@click.command(help=__doc__)
@click.option("--sizes", default=SIZES, show_default=True, help="Regions, at least 1,000 each.")
@click.option("--dim", default=512, show_default=True, help="Numbers of a feature.")
@click.option("--doc", is_flag=True, help="Write the table into docs/workers.md.")
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(sizes: str, dim: int, doc: bool, folder: Path | None) -> None:
    if folder:
        click.echo(json.dumps(measure(folder, dim)))
        return
    counts = [int(size) for size in sizes.split(",")]
    found: dict[str, list[str]] = {name: [] for name in STEPS}
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            quick_plan(root / "images", 1 + count // CROPS, CROPS).save(root / "plan")
            for one in STEPS:
                found[one].append(f"{_in_process(root, dim)['mib']:,.0f}")
                click.echo(f"{count:,} regions, {one}: {found[one][-1]} MiB", err=True)
    text = table(found, counts, dim)
    click.echo(text)
    if doc:
        replace_block(DOC, "bench.memory", text)


def table(found: dict[str, list[str]], counts: list[int], dim: int) -> str:
    heads = " | ".join(f"{count:,} regions" for count in counts)
    sizes = ",".join(f"{count:_}" for count in counts)
    return "\n".join(
        [
            f"| MiB at most, {dim}-d float16 | {heads} |",
            f"| --- | {' | '.join('---:' for _ in counts)} |",
            *(f"| {one}: {words} | {' | '.join(found[one])} |" for one, words in STEPS.items()),
            "",
            f"{'; '.join(machine())}. `python -m bench.memory --sizes {sizes} --dim {dim}`",
            "",
        ]
    )


def _in_process(folder: Path, dim: int) -> dict[str, float]:
    words = [sys.executable, "-m", "bench.memory", "--folder", str(folder), "--dim", str(dim)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


if __name__ == "__main__":
    main()
