"""One format measured in a process of its own: python -m bench.cache_way SETTINGS.

SETTINGS are JSON; the last line of the output is too. bench.cache starts this.
"""

import io
import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from bench.cache_formats import FORMATS, Array, Rows
from fdbpl.cache.codec import Shard, encode_shard
from fdbpl.training.schedule import epoch_batches

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


def measure(settings: Settings) -> dict[str, Any]:
    """Return the columns of one format."""
    one, folder = FORMATS[settings.name], Path(settings.folder)
    features: Array = np.load(settings.source)
    memory = features.nbytes // 8
    steps = order(len(features), settings.crops, settings.batch)

    def built() -> None:
        one.build(features, settings.crops, folder)

    build = min(seconds(built, before=lambda: emptied(folder)) for _ in range(settings.repeats))
    stored = size(folder)
    if not np.array_equal(one.open(folder, memory).whole(), features):
        raise SystemExit(f"{settings.name} gives other features than were written")
    read = size(folder)
    found = list(one.open(folder, memory).batches(steps[:2]))
    wanted = [features[rows] for rows in steps[:2]]
    exact = all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))

    first = min(
        seconds(lambda: next(iter(one.open(folder, memory).batches(steps))))
        for _ in range(settings.repeats)
    )
    whole, batches = [], []
    for _ in range(settings.repeats):
        whole.append(seconds(one.open(folder, memory).whole))
        ready = one.open(folder, memory)
        batches.append(seconds(lambda ready=ready: deque(ready.batches(steps), maxlen=0)))
    return {
        "bytes_per_region": stored / len(features),
        "bytes_on_disk": read / len(features),
        "build_mb_s": features.nbytes / build / 1e6,
        "read_mb_s": features.nbytes / min(whole) / 1e6,
        "batches_s": len(steps) / min(batches),
        "first_batch_ms": first * 1000,
        "any_order": exact,
        "how": one.how,
    }


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def order(regions: int, crops: int, batch: int) -> list[Rows]:
    """Return the rows of an epoch of training: each image once, by a random crop."""
    images = np.arange(regions // crops)
    epoch = epoch_batches(images, crops=crops, batch=batch, epoch=0, seed=1)
    return [rows for _, rows in epoch]


def seconds(run: Callable[[], Any], before: Callable[[], None] = lambda: None) -> float:
    before()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def flips(settings: Settings) -> dict[str, Any]:
    """Flip one bit at a time in what was written, and see whether reading all of it objects."""
    one, folder = FORMATS[settings.name], Path(settings.folder)
    features: Array = np.load(settings.source)[:FLIPPED_REGIONS]
    emptied(folder)
    one.build(features, settings.crops, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = np.array([path.stat().st_size for path in files])
    generator = np.random.default_rng(0)
    found = silent = 0
    for place in generator.integers(0, sizes.sum() * 8, settings.flips).tolist():
        number = int(np.searchsorted(np.cumsum(sizes), place // 8, side="right"))
        at = place - int(sizes[:number].sum()) * 8
        path = files[number]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            silent += not np.array_equal(one.open(folder, features.nbytes).whole(), features)
        except Exception:  # whatever a format says is an answer
            found += 1
        path.write_bytes(whole)
    return {"flips_found": found, "flips_silent": silent, "flips": settings.flips}


def codec(settings: Settings) -> dict[str, Any]:
    """MB/s of verified reading, beside zstd and the un-shuffle of the very same planes alone."""
    features: Array = np.load(settings.source)
    features = features[: (32 << 20) // features[0].nbytes]
    data = encode_shard({"feature": features})
    shard, file = Shard(data), Shard(io.BytesIO(data))
    column = shard.head.columns["feature"]
    decoder = zstandard.ZstdDecompressor()
    planes = []
    for block, sizes in enumerate(column.stored.tolist()):
        ends = np.cumsum([column.starts[block], *sizes]).tolist()
        raw = column.rows_of(block) * column.row_items
        planes.append([(data[a:b], b - a == raw) for a, b in pairwise(ends)])
    target = np.empty_like(features)
    items = target.reshape(-1).view("<u2")

    def alone() -> None:
        done = 0
        for (low, plain_low), (high, plain_high) in planes:
            top = np.frombuffer(high if plain_high else decoder.decompress(high), np.uint8)
            bottom = np.frombuffer(low if plain_low else decoder.decompress(low), np.uint8)
            part = items[done : done + len(top)]
            np.left_shift(top, 8, out=part, dtype=part.dtype)
            np.bitwise_or(part, bottom, out=part)
            done += len(top)

    ways = {
        "alone": alone,
        "memory": lambda: shard.read_into({"feature": target}),
        "file": lambda: file.read_into({"feature": target}),
    }
    best: dict[str, float] = {}
    for name, run in [*ways.items()] * (10 * settings.repeats):
        target[:] = 0
        best[name] = min(best.get(name, np.inf), seconds(run))
        if not np.array_equal(target, features):
            raise SystemExit(f"{name} decodes something else")
    return {name: features.nbytes / took / 1e6 for name, took in best.items()}


def main() -> None:
    settings = Settings(**json.loads(sys.argv[1]))
    with suppress(AttributeError):  # macOS pins no process
        os.sched_setaffinity(0, {settings.core})
    action = {"measure": measure, "flips": flips, "codec": codec}[sys.argv[2]]
    try:
        found = action(settings)
    except ImportError as error:
        found = {"absent": str(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
