"""Small datasets, encoders and plans that builds of caches are tried with."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from fdbpl.cache import Cache, Counts, RegionStore, build_cache, open_cache
from fdbpl.cache.manifest import Identity
from fdbpl.data.images import read_image
from fdbpl.regions.boxes import REGION, CropPolicy, draw_regions

IMAGES = 12
CROPS = 5
MODEL = {"source": "tiny", "logit_scale": 18.7}
IDENTITY = Identity(
    kind="teacher",
    model={"source": "tiny", "logit_scale": 18.7},
    encoder={"weights": "cd" * 32, "activation": "gelu", "preprocessing": {"size": 48}},
    decoder="fdbpl-1/pillow-13",
    dataset="textures",
    images="12" * 32,
    policy={"seed": 1, "scale": [0.08, 1.0]},
    payload={"name": "float16"},
    plan="ab" * 32,
)
POLICY = {"seed": 1, "crops": CROPS, **CropPolicy().fields()}


@dataclass
class FakeEncoder:
    """Features are a hash of the pixels, so that any mix-up of views shows."""

    name: str = "tiny"
    dim: int = 8
    batch_size: int = 4
    fail_after: int | None = None
    views: Counter = field(default_factory=Counter)
    batches: list[int] = field(default_factory=list)

    @property
    def fingerprint(self) -> dict[str, object]:
        return {"architecture": self.name, "activation": "gelu"}

    def pixels(self, image, box, flip) -> np.ndarray:
        crop = image.resize((6, 6), Image.Resampling.BICUBIC, box)
        pixels = np.asarray(crop, np.float32).transpose(2, 0, 1) / 255
        return np.ascontiguousarray(pixels[:, :, ::-1] if flip else pixels)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        if self.fail_after is not None and sum(self.batches) >= self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(len(pixels))
        digests = [hashlib.sha256(view.tobytes()).digest() for view in pixels]
        self.views.update(digests)
        raw = np.array([np.frombuffer(digest, "<u4")[: self.dim] for digest in digests])
        features = raw.astype(np.float32) - 2.0**31
        return features / np.linalg.norm(features, axis=1, keepdims=True)


@dataclass(frozen=True)
class FakePlan:
    name: str
    digest: str
    paths: list[str]
    images: np.ndarray
    regions: np.ndarray
    test: np.ndarray
    policy: Mapping[str, object] = field(default_factory=lambda: POLICY)


def draw_images(folder: Path) -> list[str]:
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = []
    for i in range(IMAGES):
        pixels = generator.integers(0, 256, (20 + i, 30, 3), np.uint8)
        paths.append(f"{i:02d}.png")
        Image.fromarray(pixels).save(folder / paths[-1])
    return paths


def make_plan(folder: Path, train: int = 8, crops: int = CROPS) -> FakePlan:
    paths = sorted(path.name for path in folder.iterdir())
    images = np.zeros(len(paths), [("hash", "u1", (16,)), ("width", "<i4"), ("height", "<i4")])
    for row, path in zip(images, paths, strict=True):
        row["hash"] = np.frombuffer(read_image(folder / path)[0], np.uint8)
        with Image.open(folder / path) as image:
            row["width"], row["height"] = image.size
    regions = [
        draw_regions(1, i, row["hash"].tobytes(), row["width"], row["height"], crops, CropPolicy())
        for i, row in enumerate(images[:train])
    ]
    return FakePlan(
        name="drawn",
        digest=hashlib.sha256(f"{train} {crops}".encode()).hexdigest(),
        paths=paths,
        images=images,
        regions=np.concatenate(regions) if regions else np.zeros(0, REGION),
        test=np.arange(train, len(paths)),
    )


def build(plan, folder, encoder, store, url, **options):
    options = {"kind": "teacher", "model": MODEL, **options}
    return build_cache(plan, folder, encoder, store, url, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@dataclass
class Lab:
    """Drawn images in a folder, and builds of caches beside it."""

    root: Path

    def __post_init__(self) -> None:
        self.folder = self.root / "images"
        draw_images(self.folder)

    def plan(self, train: int = 8, crops: int = CROPS) -> FakePlan:
        return make_plan(self.folder, train, crops)

    def build(self, plan=None, encoder=None, *, store="s", cache="c", **options) -> Counts:
        """Build a cache, into a folder of this name and from a store of that."""
        store = store if isinstance(store, RegionStore) else RegionStore(self.root / store)
        plan, encoder = plan or self.plan(), encoder or FakeEncoder()
        return build(plan, self.folder, encoder, store, self.root / cache, **options)

    def open(self, cache: str = "c") -> Cache:
        return open_cache(self.root / cache)

    def contents(self, cache: str = "c") -> dict[str, bytes]:
        return contents(self.root / cache)


def plain_features(plan, folder, encoder) -> tuple[np.ndarray, np.ndarray]:
    """What the cache should hold, one view at a time."""

    def one(path, box, flip) -> np.ndarray:
        with Image.open(folder / path) as image:
            return encoder.encode(encoder.pixels(image.convert("RGB"), box, flip)[None])[0]

    train = [
        one(plan.paths[r["image"]], tuple(r["box"].tolist()), bool(r["flip"])) for r in plan.regions
    ]
    return np.array(train), np.array([one(plan.paths[i], None, False) for i in plan.test])
