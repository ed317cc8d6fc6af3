"""The cache beside other formats, on the same regions: python -m bench.cache --json cache.json

Each format is built and read in processes of its own, pinned to one core, in rounds that alternate
between the formats; of each number the best round counts. zarr is of the extra `bench`.
Takes about four minutes; keep the machine quiet.
"""

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import finding
from bench.cache_formats import FORMATS, Array, Rows
from fdbpl.training.schedule import epoch_batches

# column of the record: (head of the table, whether more is better)
COLUMNS = {
    "bytes_per_region": ("bytes per region", False),
    "bytes_on_disk": ("on disk once read", False),
    "build_mb_s": ("build MB/s", True),
    "read_mb_s": ("read MB/s", True),
    "batches_s": ("random batches/s", True),
    "first_batch_ms": ("first batch, ms", False),
}
COMPRESSED = 0.97  # of the raw bytes
FLIPPED_REGIONS = 320


@dataclass(frozen=True)
class Settings:
    """What to measure. `source` is an .npy of features (R, D), `folder` for what is written."""

    name: str
    source: str
    folder: str
    crops: int
    batch: int
    repeats: int
    flips: int
    core: int


def unit_features(regions: int, dim: int, seed: int = 0) -> Array:
    """Return normalised Gaussians (R, D) in fp16, as like real features as costs are concerned."""
    values = np.random.default_rng(seed).standard_normal((regions, dim), np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float16)


def order(regions: int, crops: int, batch: int) -> list[Rows]:
    """Return the rows of an epoch of training: each image once, by a random crop."""
    images = np.arange(regions // crops)
    return [r for _, r in epoch_batches(images, crops=crops, batch=batch, epoch=0, seed=1)]


def measure(settings: Settings) -> dict[str, Any]:
    """Return the columns of one format."""
    with suppress(AttributeError):  # macOS pins no process
        os.sched_setaffinity(0, {settings.core})
    one, folder = FORMATS[settings.name], Path(settings.folder)
    features: Array = np.load(settings.source)
    memory, megabytes = features.nbytes // 8, features.nbytes / 1e6
    steps = order(len(features), settings.crops, settings.batch)
    build = min(_build(settings, features) for _ in range(settings.repeats))
    stored = _size(folder)
    if not np.array_equal(one.open(folder, memory).whole(), features):
        raise click.ClickException(f"{settings.name} gives other features than were written")
    read = _size(folder)
    whole, batches, first = [], [], []
    for _ in range(settings.repeats):
        first.append(_seconds(lambda: next(iter(one.open(folder, memory).batches(steps)))))
        whole.append(_seconds(one.open(folder, memory).whole))
        ready = one.open(folder, memory)
        batches.append(_seconds(lambda ready=ready: deque(ready.batches(steps), maxlen=0)))
    return {
        "bytes_per_region": stored / len(features),
        "bytes_on_disk": read / len(features),
        "build_mb_s": megabytes / build,
        "read_mb_s": megabytes / min(whole),
        "batches_s": len(steps) / min(batches),
        "first_batch_ms": min(first) * 1000,
        "how": one.how,
    }


def _build(settings: Settings, features: Array) -> float:
    """Build anew; return the seconds it took."""
    shutil.rmtree(settings.folder, ignore_errors=True)
    folder = Path(settings.folder)
    folder.mkdir(parents=True)
    return _seconds(lambda: FORMATS[settings.name].build(features, settings.crops, folder))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def flips(settings: Settings) -> dict[str, Any]:
    """Flip one bit at a time in what was written, and see whether reading all of it objects."""
    one, folder = FORMATS[settings.name], Path(settings.folder)
    features: Array = np.load(settings.source)[:FLIPPED_REGIONS]
    _build(settings, features)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = np.array([path.stat().st_size for path in files])
    generator = np.random.default_rng(0)
    found = silent = 0
    for number in generator.choice(len(files), settings.flips, p=sizes / sizes.sum()):
        whole = files[number].read_bytes()
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << generator.integers(8)
        files[number].write_bytes(damaged)
        try:
            silent += not np.array_equal(one.open(folder, features.nbytes).whole(), features)
        except Exception:  # whatever a format says is an answer
            found += 1
        files[number].write_bytes(whole)
    return {"flips_found": found, "flips_silent": silent}


def better(column: str, one: float, other: float) -> bool:
    return one > other if COLUMNS[column][1] else one < other


def best(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each column the best of the rounds."""
    picked = {
        column: (max if more else min)(one[column] for one in rounds)
        for column, (_, more) in COLUMNS.items()
    }
    return {**rounds[0], **picked}


def standing(rows: dict[str, dict[str, Any]], raw: int) -> str:
    """Say in which columns this cache is first among those that compress and check."""
    peers = {
        name: row
        for name, row in rows.items()
        if row["bytes_per_region"] < COMPRESSED * raw and not row["flips_silent"]
    }
    ours = peers.pop("fdbpl")
    ahead = {
        head: [name for name, row in peers.items() if better(column, row[column], ours[column])]
        for column, (head, _) in COLUMNS.items()
    }
    lost = [f"{head} (ahead: {', '.join(names)})" for head, names in ahead.items() if names]
    return (
        "Besides this cache, these compress and find every flipped bit: "
        f"{', '.join(peers) or 'none'}. Among them it is first in every column"
        + (f" but {'; '.join(lost)}." if lost else ".")
    )


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    about, raw = found["options"], 2 * found["options"]["dim"]
    rows = found["formats"]
    lines = []
    for name, row in rows.items():
        smaller = "yes" if row["bytes_per_region"] < COMPRESSED * raw else "no"
        flipped = f"{row['flips_found']} of {row['flips_found'] + row['flips_silent']}"
        lines.append({"format": name, **row, "smaller": smaller, "flipped": flipped})
    heads = {"format": "format"} | {column: head for column, (head, _) in COLUMNS.items()}
    heads |= {"smaller": "compresses", "flipped": "flipped bits found"}
    return "\n\n".join(
        [
            f"{finding.source(found)}\n{about['regions']:,} regions of {about['dim']} numbers in "
            f"fp16, that is {raw:,} bytes, {about['crops']} of every image; batches of "
            f"{about['batch']}; one core.",
            finding.rows(heads, lines),
            *([standing(rows, raw)] if len(rows) > 1 else ()),
            "\n".join(f"- {name}: {row['how']}" for name, row in rows.items()),
        ]
    )


@click.command()
@click.option("--regions", default=32000, show_default=True)
@click.option("--dim", default=1024, show_default=True)
@click.option("--crops", default=10, show_default=True, help="Regions of each image.")
@click.option("--batch", default=32, show_default=True)
@click.option("--rounds", default=2, show_default=True)
@click.option("--repeats", default=2, show_default=True, help="In each round's process.")
@click.option("--flips", "bits", default=32, show_default=True, help="Flipped, one at a time.")
@click.option("--core", default=0, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(FORMATS)), help="These formats.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(
    regions: int, dim: int, crops: int, batch: int, rounds: int, repeats: int, bits: int,
    core: int, only: tuple[str, ...], path: Path,
) -> None:  # fmt: skip
    """Measure every format, and say where this cache stands among them."""
    if regions % crops:
        raise click.UsageError(f"--regions {regions} is no multiple of --crops {crops}.")
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in only or FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/features.npy"
        np.save(source, unit_features(regions, dim))
        common = Settings("", source, f"{folder}/built", crops, batch, repeats, bits, core)
        for name in [name for _ in range(rounds) for name in answers]:
            answers[name].append(finding.in_process(measure, replace(common, name=name), threads=1))
        formats = {
            name: best(rows) | finding.in_process(flips, replace(common, name=name), threads=1)
            for name, rows in answers.items()
        }
    asked = {"regions": regions, "dim": dim, "crops": crops, "batch": batch}
    click.echo(section(finding.save(path, "cache", asked, formats=formats)))


if __name__ == "__main__":
    main()
