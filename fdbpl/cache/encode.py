"""Encoding views: images decoded and cropped ahead, features kept chunk by chunk."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fdbpl.cache.keys import Keys
from fdbpl.cache.views import image_hashes
from fdbpl.data.images import decode
from fdbpl.regions.boxes import Box
from fdbpl.regions.plan import Plan
from fdbpl.system.ahead import ahead
from fdbpl.system.errors import UserError

Pixels = NDArray[np.float32]
Made = TypeVar("Made")


class Encoder(Protocol):
    """An image encoder whose feature of a view depends on that view alone.

    fingerprint: JSON fields of all that decides what it makes of pixels. `pixels` is called from
    several threads at once; `encode` from one, or from as many as there are workers where these are
    threads.
    """

    @property
    def fingerprint(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102

    def pixels(self, image: Image, box: Box | None, flip: bool) -> Pixels:
        """Return one view's (3, S, S) input; box None is the test view of the whole image."""

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return (n, dim) features of (n, 3, S, S) pixels, n <= batch_size."""


@dataclass(frozen=True)
class Chunk:
    """Some views, with all that is needed to encode them; what a worker takes at a time.

    paths: m image files, relative to the dataset's folder; hashes: (m, 16) of their content;
    views: (n,) VIEW, whose images are rows of paths, equal ones next to each other.
    """

    paths: tuple[str, ...]
    hashes: Keys
    views: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.views)

    @property
    def keys(self) -> Keys:
        """The views' keys (n, 16)."""
        return self.views["key"]

    def by_image(self, most: int) -> Iterator[NDArray[np.void]]:
        """Yield the views of each image, of more than `most` as many at a time."""
        starts = np.flatnonzero(np.diff(self.views["image"])) + 1
        for views in np.split(self.views, starts):
            for first in range(0, len(views), most):
                yield views[first : first + most]


def chunk_of(plan: Plan, views: NDArray[np.void]) -> Chunk:
    """Return the chunk of (n,) VIEW, which are ordered by image."""
    images, rows = np.unique(views["image"], return_inverse=True)
    views = views.copy()
    views["image"] = rows
    paths = tuple(plan.paths[image] for image in images.tolist())
    return Chunk(paths, image_hashes(plan, images), views)


@dataclass(frozen=True)
class ChunkEncoder:
    """An encoder and where its images are.

    folder: holds the images; threads: for decoding and cropping ahead of the encoder.
    """

    encoder: Encoder
    folder: Path
    threads: int

    def run(
        self,
        chunks: Iterable[Chunk],
        keep: Callable[[Keys, NDArray[np.float32]], None],
        report: Callable[[int], None] = lambda views: None,
    ) -> None:
        """Encode chunk after chunk; each image is decoded once for a batch of its views.

        keep: called with keys (n, 16) and features (n, dim) of each chunk, and of what was encoded
        of the last one when this ends early; report: called with the views of each batch.
        Raises UserError naming the file when an image does not decode or is not the planned one,
        and when the encoder's features are not finite.
        """
        size = self.encoder.batch_size  # what stands ready, decoded and cut, is bounded by it
        chunks, coming = itertools.tee(chunks)
        jobs = ((chunk, views) for chunk in coming for views in chunk.by_image(size))
        cropped = partial(cut, self.folder, self.encoder.pixels)
        pixels = itertools.chain.from_iterable(ahead(cropped, jobs, self.threads))
        for chunk in chunks:
            rows: list[NDArray[np.float32]] = []
            try:
                for left in range(len(chunk), 0, -size):
                    rows.append(self._encode(list(itertools.islice(pixels, min(size, left)))))
                    report(len(rows[-1]))
            finally:
                if rows:  # an interrupted build keeps what it has encoded
                    features = np.concatenate(rows)
                    keep(chunk.keys[: len(features)], features)

    def _encode(self, pixels: Sequence[Pixels]) -> NDArray[np.float32]:
        features = self.encoder.encode(np.stack(pixels))
        if features.shape != (len(pixels), self.encoder.dim) or not np.isfinite(features).all():
            raise UserError(
                f"{self.encoder.fingerprint}: this encoder gave features of shape "
                f"{features.shape}, finite: {bool(np.isfinite(features).all())}; wanted finite "
                f"({len(pixels)}, {self.encoder.dim}): check its weights"
            )
        return features


def cut(
    folder: Path,
    crop: Callable[[Image, Box | None, bool], Made],
    job: tuple[Chunk, NDArray[np.void]],
) -> list[Made]:
    """Return what `crop` makes of each of some views of one image, which is decoded once.

    Raises UserError naming the file when it does not decode or is not the planned one.
    """
    chunk, views = job
    image = int(views["image"][0])
    decoded = decode(folder / chunk.paths[image], chunk.hashes[image].tobytes())
    return [
        crop(
            decoded,
            tuple(view["box"].tolist()) if view["is_region"] else None,
            bool(view["flip"]),
        )
        for view in views
    ]
