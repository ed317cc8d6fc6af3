"""Reading pixels of regions for training: python -m bench.pixels --json pixels.json

The steps of a training, random regions each, are read from the cache, from raw pixels mapped
into memory, as FFCV lays them out, and from JPEGs, decoded and cut at every step. zstd alone
decompresses the same blocks, from memory into memory. Rounds alternate between the ways, and the
best counts. Two threads want two idle cores; takes about a minute.
"""

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import zstandard
from numpy.typing import NDArray
from PIL import Image

from bench import finding
from bench.quick import quick_plan
from fdbpl.cache import Cache, open_cache
from fdbpl.cache.format import Shard
from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.cache.pixels import COLUMN, build_pixels
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.data.images import decode
from fdbpl.regions.plan import Plan
from fdbpl.system.ahead import ahead

Steps = list[NDArray[np.int64]]
Way = Callable[[Steps, int], Iterator[Any]]
HELD = 1 << 40
SIDE = 500  # pixels of a drawn photograph
STRENGTH, FALL, TINT = 70.0, 0.45, 0.15  # of noise: regions then compress as photographs do
ALONE, CACHED, JPEG = "zstd alone", "cache, held compressed", "JPEGs, decoded and cut"
THREADS = (1, 2)


def photograph(random: np.random.Generator) -> Image.Image:
    """Draw noise of every scale, the coarser the stronger, mostly grey."""
    found = np.full((SIDE, SIDE, 3), 128.0)
    for cells in (4, 8, 16, 32, 64, 128, 256, SIDE):
        grey, tint = (random.standard_normal((planes, cells, cells)) for planes in (1, 3))
        coarse = [Image.fromarray(one.astype(np.float32)) for one in grey + TINT * tint]
        fine = [one.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for one in coarse]
        found += STRENGTH / cells**FALL * np.stack([np.asarray(one) for one in fine], axis=2)
    return Image.fromarray(found.clip(0, 255).astype(np.uint8))


def ways_of(plan: Plan, folder: Path, how: Preprocessing, cache: Cache) -> dict[str, Way]:
    """Return how steps of rows are read, by name; `folder` holds the images and raw pixels."""
    pieces = list(pieces_of(cache))
    raw = np.load(folder / "pixels.npy", mmap_mode="r")
    held, read = ({n: PixelStream(cache, held=b, threads=n) for n in THREADS} for b in (HELD, 0))

    def alone(rows: NDArray[np.int64]) -> None:
        decompressor = zstandard.ZstdDecompressor()
        for row in rows.tolist():
            if len(pieces[row]) < raw[0].nbytes:
                decompressor.decompress(pieces[row])

    def cut(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([view(region) for region in plan.regions[rows]])

    def view(region: np.void) -> NDArray[np.uint8]:
        image = decode(folder / plan.paths[region["image"]])
        return how.view(image, tuple(region["box"].tolist()), bool(region["flip"]))

    return {
        ALONE: lambda steps, threads: ahead(alone, steps, threads),
        CACHED: lambda steps, threads: held[threads].in_order(steps),
        "cache, from its files": lambda steps, threads: read[threads].in_order(steps),
        "raw, memory-mapped": lambda steps, n: ahead(lambda rows: np.asarray(raw[rows]), steps, n),
        JPEG: lambda steps, threads: ahead(cut, steps, threads),
    }


def pieces_of(cache: Cache) -> Iterator[bytes]:
    """Yield each region's pixels as the shards store them."""
    for entry in cache.manifest.tables["train"].shards:
        data = Path(cache.url, entry.name).read_bytes()
        starts = Shard(data).columns[COLUMN].starts.tolist()
        yield from (data[start:end] for start, end in pairwise(starts))


def measure(
    folder: Path, images: int, crops: int, rounds: int, size: int, order: Steps
) -> dict[str, Any]:
    """Return the regions that each way reads in a second, by threads, and their bytes on disk."""
    plan = quick_plan(folder, images + 1, crops, photograph, "jpg")
    how = Preprocessing(size, (0.5,) * 3, (0.25,) * 3, "bicubic", "shortest")
    start = time.perf_counter()
    build_pixels(plan, folder, how, folder / "cache")
    built = len(plan.regions) / (time.perf_counter() - start)
    cache = open_cache(folder / "cache")
    np.save(folder / "pixels.npy", PixelStream(cache).take(np.arange(len(plan.regions))))
    ways = ways_of(plan, folder, how, cache)
    rates: dict[str, dict[str, float]] = {name: {} for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            some = order[: -(-len(order) // 10)] if name == JPEG else order
            for threads in THREADS:
                start = time.perf_counter()
                deque(way(some, threads), maxlen=0)
                rate = sum(rows.size for rows in some) / (time.perf_counter() - start)
                rates[name][str(threads)] = max(rate, rates[name].get(str(threads), 0.0))
    stored = cache.manifest.size / len(plan.regions)
    return {"regions_s": rates, "built_s": built, "stored": stored, "raw": 3 * size * size}


def section(found: dict[str, Any]) -> str:
    """Return the table, and how the cache stands to zstd alone and to JPEGs."""
    about, rates = found["options"], found["regions_s"]
    lines = [
        {"way": name, **rate, "mb": rate["1"] * found["raw"] / 1e6} for name, rate in rates.items()
    ]
    heads = {"way": "way", "1": "regions/s, one thread", "2": "two threads", "mb": "MB/s, one"}
    shares = [
        f"{rates[CACHED][n] / rates[ALONE][n]:.0%} of zstd alone and "
        f"{rates[CACHED][n] / rates[JPEG][n]:.0f} times JPEGs"
        for n in map(str, THREADS)
    ]
    return (
        f"{finding.source(found)}\nSteps of {about['regions']} regions of {about['size']} x "
        f"{about['size']} pixels, {found['raw']:,} bytes, stored as {found['stored']:,.0f}; "
        f"{found['built_s']:,.0f} regions/s built.\n\n"
        f"{finding.rows(heads, lines)}\n\nThe cache, held compressed, is read at {shares[0]} by "
        f"one thread, {shares[1]} by two."
    )


@click.command()
@click.option("--images", default=200, show_default=True)
@click.option("--crops", default=10, show_default=True, help="Regions of each image.")
@click.option("--regions", default=96, show_default=True, help="Of a step.")
@click.option("--steps", default=40, show_default=True)
@click.option("--size", default=224, show_default=True, help="Of a region, in pixels.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(
    images: int, crops: int, regions: int, steps: int, size: int, rounds: int, path: Path
) -> None:
    """Measure every way, and say how they stand to each other."""
    random = np.random.default_rng(1)
    order = [random.integers(0, images * crops, regions) for _ in range(steps)]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), images, crops, rounds, size, order)
    asked = {"images": images, "crops": crops, "regions": regions, "steps": steps}
    asked |= {"size": size, "rounds": rounds}
    click.echo(section(finding.save(path, "pixels", asked, **found)))


if __name__ == "__main__":
    main()
