"""One streamed training in a process of its own, so that its peak memory is its own.

bench.stream starts this with JSON settings; the last line of the output is JSON too.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fdbpl.training.features import StreamedFeatures, cached_features

from bench.cache_way import unit_features
from fdbpl.cache.cache import Cache, CacheWriter, open_cache
from fdbpl.cache.codec import BLOCK_BYTES
from fdbpl.cache.manifest import Identity
from fdbpl.cache.stream import row_bytes, windows
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.methods.params import TrainParams
from fdbpl.training.learning import learn, template_vectors
from fdbpl.training.schedule import epoch_steps

SHARD_ROWS = 1 << 15
TEACHER_DIM = 1024  # of ViT-H/14


@dataclass(frozen=True)
class Settings:
    """What to train. The caches of `regions` lie in `folder`, or are written there first."""

    folder: str
    regions: int
    crops: int
    classes: int
    batch: int
    epochs: int
    memory_mb: int
    method: str


def write_cache(folder: Path, regions: int, dim: int) -> None:
    """Write a cache of normalised Gaussians, shard by shard."""
    identity = Identity.model_validate(
        {
            "kind": "teacher", "model": {"source": "random", "logit_scale": 1.0},
            "dataset": "random", "plan": "", "policy": {}, "encoder": {}, "decoder": "",
            "images": "", "payload": {"name": "float16"},
        }
    )  # fmt: skip
    writer = CacheWriter(folder, identity)
    for number, start in enumerate(range(0, regions, SHARD_ROWS)):
        features = unit_features(min(SHARD_ROWS, regions - start), dim, seed=number)
        writer.add("train", {"feature": features})
    writer.finish()


def amplification(cache: Cache, steps: Sequence[np.ndarray], limit: int) -> float:
    """Return how many rows are decoded for each row used: blocks are read whole."""
    block = BLOCK_BYTES // row_bytes(cache, "train")
    decoded = used = 0
    for part in windows([rows.size for rows in steps], limit):
        rows = np.unique(np.concatenate([rows.ravel() for rows in steps[part]]))
        decoded += len(np.unique(rows // block)) * block
        used += sum(rows.size for rows in steps[part])
    return decoded / used


def peak_mb() -> float:
    """Return the process's peak resident memory, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(settings: Settings) -> dict[str, Any]:
    folder, images = Path(settings.folder), settings.regions // settings.crops
    clip = load_model(ModelParams(architecture="fdbpl-tiny-student", weights="tiny"), "student")
    names = [f"thing {number}" for number in range(settings.classes)]
    caches = {role: open_cache(folder / role) for role in ("student", "teacher")}
    generator = np.random.default_rng(1)
    half = (settings.memory_mb << 20) // 2
    sources = {role: cached_features(cache, half) for role, cache in caches.items()}
    before = peak_mb()
    start = time.perf_counter()
    learn(
        clip,
        names,
        **sources,
        teacher_vectors=unit_features(settings.classes, TEACHER_DIM).astype(np.float32),
        teacher_scale=100.0,
        labels=generator.integers(0, settings.classes, images),
        anchors=template_vectors(clip, names, "a photo of a {}."),
        crops=settings.crops,
        method=settings.method,
        params=TrainParams(epochs=settings.epochs, batch=settings.batch),
    )
    took = time.perf_counter() - start
    stored = sum(
        shard.bytes for cache in caches.values() for shard in cache.manifest.tables["train"].shards
    )
    steps = [
        rows
        for _, rows in epoch_steps(
            {1: np.arange(images)}, crops=settings.crops, batch=settings.batch, epoch=0
        )
    ]
    streamed = sources["teacher"]
    limit = streamed.stream.window_rows if isinstance(streamed, StreamedFeatures) else None
    return {
        "regions": settings.regions,
        "stored_mb": stored / (1 << 20),
        "raw_mb": settings.regions
        * sum(row_bytes(c, "train") for c in caches.values())
        / (1 << 20),
        "streamed": limit is not None,
        "before_mb": before,
        "peak_mb": peak_mb(),
        "rows_s": settings.epochs * len(steps) * settings.batch / took,
        "amplification": 1.0 if limit is None else amplification(caches["teacher"], steps, limit),
    }


def main() -> None:
    settings = Settings(**json.loads(sys.argv[1]))
    torch.set_num_threads(1)
    if sys.argv[2] == "write":
        clip = load_model(ModelParams(architecture="fdbpl-tiny-student", weights="tiny"), "student")
        width = template_vectors(clip, ["thing"], "a {}.").shape[1]
        for role, dim in (("student", width), ("teacher", TEACHER_DIM)):
            write_cache(Path(settings.folder) / role, settings.regions, dim)
        print("{}")
        return
    print(json.dumps(measure(settings)))


if __name__ == "__main__":
    main()
