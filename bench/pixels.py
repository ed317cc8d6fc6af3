"""Reading pixels of regions for training: python -m bench.pixels --json pixels.json

The steps of a training, random regions each, are read from the cache, from raw pixels mapped
into memory, as FFCV lays them out, and from JPEGs, decoded and cut at every step: each a file, or,
where WebDataset is installed, in its shards and their own order. zstd alone decompresses the
same blocks, from memory into memory. Rounds alternate between the ways, and the
best counts. Two threads want two idle cores.
"""

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import zstandard
from PIL import Image

from bench import finding
from bench.quick import quick_plan
from fdbpl.cache import Cache, open_cache
from fdbpl.cache.cache import Rows
from fdbpl.cache.format import Shard
from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.cache.pixels import COLUMN, Views, build_pixels
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.data.images import decode
from fdbpl.regions.plan import Plan
from fdbpl.system.ahead import ahead

Steps = list[Rows]
Way = Callable[[Steps, int], Iterator[Any]]
HELD = 1 << 40
SIDE, CROPS = 500, 10  # pixels of a drawn photograph, and regions of each
STRENGTH, FALL, TINT = 70.0, 0.45, 0.15  # of noise: regions then compress as photographs do
ALONE, CACHED, JPEG = "zstd alone", "cache, held compressed", "JPEGs, decoded and cut"
SHARDED = "the same, of WebDataset's shards"
IN_A_SHARD = 16  # JPEGs
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

    def alone(rows: Rows) -> None:
        decompressor = zstandard.ZstdDecompressor()
        for row in rows.tolist():
            if len(pieces[row]) < raw[0].nbytes:
                decompressor.decompress(pieces[row])

    def cut(rows: Rows) -> Views:
        images = [decode(folder / plan.paths[image]) for image in plan.regions["image"][rows]]
        return np.stack([view(image, row) for image, row in zip(images, rows, strict=True)])

    def view(image: Image.Image, row: int) -> Views:
        region = plan.regions[row]
        return how.view(image, tuple(region["box"].tolist()), bool(region["flip"]))

    def of_shard(shard: Path) -> Views:
        import webdataset

        read = webdataset.WebDataset(str(shard), shardshuffle=False).decode("pilrgb")
        return np.stack([view(one["jpg"], CROPS * int(one["__key__"])) for one in read])

    def sharded(steps: Steps, threads: int) -> Iterator[Any]:
        count = sum(map(len, steps)) // IN_A_SHARD
        return ahead(of_shard, islice(cycle(sorted(folder.glob("*.tar"))), count), threads)

    found: dict[str, Way] = {
        ALONE: lambda steps, threads: ahead(alone, steps, threads),
        CACHED: lambda steps, threads: held[threads].in_order(steps),
        "cache, from its files": lambda steps, threads: read[threads].in_order(steps),
        "raw, memory-mapped": lambda steps, n: ahead(lambda rows: np.asarray(raw[rows]), steps, n),
        JPEG: lambda steps, threads: ahead(cut, steps, threads),
    }
    return {**found, SHARDED: sharded} if find_spec("webdataset") else found


def write_shards(plan: Plan, folder: Path) -> None:
    """Write the JPEGs of a plan's training images as whole shards of WebDataset."""
    import webdataset

    images = np.unique(plan.regions["image"]).tolist()
    for start in range(0, len(images) - IN_A_SHARD + 1, IN_A_SHARD):
        with webdataset.TarWriter(str(folder / f"{start:06}.tar")) as shard:
            for image in images[start : start + IN_A_SHARD]:
                data = (folder / plan.paths[image]).read_bytes()
                shard.write({"__key__": f"{image:06}", "jpg": data})


def pieces_of(cache: Cache) -> Iterator[bytes]:
    """Yield each region's pixels as the shards store them."""
    for entry in cache.manifest.tables["train"].shards:
        data = Path(cache.url, entry.name).read_bytes()
        starts = Shard(data).columns[COLUMN].starts.tolist()
        yield from (data[start:end] for start, end in pairwise(starts))


def measure(folder: Path, images: int, rounds: int, size: int, order: Steps) -> dict[str, Any]:
    """Return the regions that each way reads in a second, by threads, and their bytes."""
    plan = quick_plan(folder, images + 1, CROPS, photograph, "jpg")
    how = Preprocessing(size, (0.5,) * 3, (0.25,) * 3, "bicubic", "shortest")
    start = time.perf_counter()
    build_pixels(plan, folder, how, folder / "cache")
    built = len(plan.regions) / (time.perf_counter() - start)
    cache = open_cache(folder / "cache")
    np.save(folder / "pixels.npy", PixelStream(cache).take(np.arange(len(plan.regions))))
    if find_spec("webdataset"):
        write_shards(plan, folder)
    ways = ways_of(plan, folder, how, cache)
    rates: dict[str, dict[str, float]] = {name: {} for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            some = order[: -(-len(order) // 10)] if name in (JPEG, SHARDED) else order
            for threads in THREADS:
                start = time.perf_counter()
                deque(way(some, threads), maxlen=0)
                rate = sum(map(len, some)) / (time.perf_counter() - start)
                rates[name][str(threads)] = max(rate, rates[name].get(str(threads), 0.0))
    stored = cache.manifest.size / len(plan.regions)
    return {"regions_s": rates, "built_s": built, "stored": stored, "raw": 3 * size * size}


def section(found: dict[str, Any]) -> str:
    """Return the table, and how the cache stands to zstd alone and to JPEGs."""
    about, rates, raw = found["options"], found["regions_s"], found["raw"]
    lines = [{"way": way, **rate, "mb": rate["1"] * raw / 1e6} for way, rate in rates.items()]
    heads = {"way": "way", "1": "regions/s, one thread", "2": "two threads", "mb": "MB/s, one"}
    shares = [
        f"{rates[CACHED][n] / rates[ALONE][n]:.0%} of zstd alone and "
        f"{rates[CACHED][n] / rates[JPEG][n]:.0f} times JPEGs"
        for n in map(str, THREADS)
    ]
    return (
        f"{finding.source(found)}\nSteps of {about['regions']} regions of {about['size']} x "
        f"{about['size']} pixels, {raw:,} bytes, stored as {found['stored']:,.0f}; "
        f"{found['built_s']:,.0f} regions/s built.\n\n"
        f"{finding.rows(heads, lines)}\n\nThe cache, held compressed, is read at {shares[0]} by "
        f"one thread, {shares[1]} by two."
    )


@click.command()
@click.option("--images", default=200, show_default=True)
@click.option("--regions", default=96, show_default=True, help="Of a step.")
@click.option("--steps", default=40, show_default=True)
@click.option("--size", default=224, show_default=True, help="Of a region, in pixels.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(images: int, regions: int, steps: int, size: int, rounds: int, path: Path) -> None:
    """Measure every way, and say how they stand to each other."""
    random = np.random.default_rng(1)
    order = [random.integers(0, images * CROPS, regions) for _ in range(steps)]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), images, rounds, size, order)
    asked = {"images": images, "regions": regions, "steps": steps, "size": size, "rounds": rounds}
    click.echo(section(finding.save(path, "pixels", asked, **found)))


if __name__ == "__main__":
    main()
