"""A plan of noise images and an encoder that costs almost nothing: what is left is the cache."""

import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fdbpl.cache import Counts, RegionStore, build_cache
from fdbpl.cache.workers import Crew, Pool
from fdbpl.data.images import read_image
from fdbpl.regions.boxes import REGION, CropPolicy, draw_regions
from fdbpl.regions.plan import IMAGE, TEST, Plan

SIDE = 64  # pixels of an image
POLICY = {"seed": 0, **CropPolicy().fields()}


@dataclass(frozen=True)
class QuickEncoder:
    """Random unit features, decided by the pixels alone.

    seconds: slept for each view, in place of a model's work; log: a file that takes one byte for
    each view encoded, whoever encodes it.
    """

    dim: int = 16
    batch_size: int = 4
    seconds: float = 0.0
    log: str = ""

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"architecture": "quick", "dim": self.dim}

    def pixels(self, image: Image.Image, box: Any, flip: bool) -> np.ndarray:
        view = np.asarray(image.resize((4, 4), box=box), np.float32).transpose(2, 0, 1)
        return np.ascontiguousarray(view[:, :, ::-1] if flip else view)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds * len(pixels))
        features = np.empty((len(pixels), self.dim), np.float32)
        for row, view in enumerate(pixels):
            random = np.random.default_rng(zlib.crc32(view.tobytes()))
            feature = random.standard_normal(self.dim, np.float32)
            features[row] = feature / np.linalg.norm(feature)
        if self.log:
            with Path(self.log).open("ab", buffering=0) as file:
                os.write(file.fileno(), b"." * len(pixels))
        return features


def noise(random: np.random.Generator) -> Image.Image:
    """Draw SIDE x SIDE pixels that have nothing to do with each other."""
    return Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def quick_plan(
    folder: Path,
    images: int,
    crops: int,
    draw: Callable[[np.random.Generator], Image.Image] = noise,
    suffix: str = "bmp",
) -> Plan:
    """Draw `images` images into `folder` and plan `crops` regions of each but the last."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    records = np.zeros(images, IMAGE)
    paths = tuple(f"{number:06}.{suffix}" for number in range(images))
    for record, path in zip(records, paths, strict=True):
        image = draw(random)
        image.save(folder / path)
        record["width"], record["height"] = image.size
        record["hash"] = np.frombuffer(read_image(folder / path)[0], np.uint8)
    records["split"][-1:] = TEST
    regions = np.zeros((images - 1, crops), REGION)
    for number, drawn in enumerate(regions):
        image_hash, size = records["hash"][number].tobytes(), records[["width", "height"]][number]
        drawn[:] = draw_regions(0, number, image_hash, *size.tolist(), crops, CropPolicy())
    return Plan(
        name="noise",
        class_names=(),
        template="",
        labels=(),
        paths=paths,
        images=records,
        shots={},
        ranks={},
        regions=regions.reshape(-1),
        policy=POLICY,
        notes={},
    )


def quick_build(
    plan: Plan,
    folder: Path,
    store: str,
    url: str,
    encoder: QuickEncoder,
    pool: Pool | None = None,
    **options: Any,
) -> Counts:
    """Build the plan's cache with a quick encoder, by this process or by a pool."""
    return build_cache(
        plan,
        folder,
        encoder,
        RegionStore(store),
        url,
        kind="teacher",
        model={"source": "quick", "logit_scale": 1.0},
        crew=None if pool is None else Crew(pool, SameEncoder(encoder)),
        **options,
    )


@dataclass(frozen=True)
class SameEncoder:
    """Makes in a worker the encoder that the build has."""

    encoder: QuickEncoder

    def __call__(self) -> QuickEncoder:
        return self.encoder
