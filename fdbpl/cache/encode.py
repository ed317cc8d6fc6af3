"""Encoding views: images decoded and cropped ahead, features kept chunk by chunk."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fdbpl.cache.keys import Keys
from fdbpl.cache.views import Places, Plan, Views, image_hashes
from fdbpl.data.images import decode
from fdbpl.regions.boxes import Box
from fdbpl.system.errors import UserError

Pixels = NDArray[np.float32]
Job = TypeVar("Job")
Result = TypeVar("Result")


class Fingerprint(Protocol):
    """All that decides what an encoder makes of pixels: JSON fields, and their digest."""

    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def fields(self) -> Mapping[str, Any]: ...  # noqa: D102


class Encoder(Protocol):
    """An image encoder whose feature of a view depends on that view alone.

    `pixels` is called from several threads at once; `encode` from one, or from as many as there
    are workers where these are threads.
    """

    @property
    def fingerprint(self) -> Fingerprint: ...  # noqa: D102
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
    images: (n,) rows of paths, equal ones next to each other; keys: (n, 16); boxes: (n, 4);
    flips: (n,); whole: (n,) True for test views.
    """

    paths: tuple[str, ...]
    hashes: Keys
    images: Places
    keys: Keys
    boxes: NDArray[np.int32]
    flips: NDArray[np.uint8]
    whole: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    def box(self, view: int) -> Box | None:
        """Return left, top, right, bottom of a region, None for a test view."""
        if self.whole[view]:
            return None
        left, top, right, bottom = self.boxes[view].tolist()
        return left, top, right, bottom

    def by_image(self, most: int) -> Iterator[range]:
        """Yield the views of each image, of more than `most` as many at a time."""
        starts = [*(np.flatnonzero(np.diff(self.images)) + 1).tolist(), len(self)]
        for start, stop in itertools.pairwise([0, *starts]):
            for first in range(start, stop, most):
                yield range(first, min(first + most, stop))


def chunk_of(plan: Plan, views: Views, places: Places) -> Chunk:
    """Return the chunk of views[places], which are ordered by image."""
    images, rows = np.unique(views.images[places], return_inverse=True)
    return Chunk(
        paths=tuple(plan.paths[image] for image in images.tolist()),
        hashes=image_hashes(plan, images),
        images=rows,
        keys=views.keys[places],
        boxes=views.boxes[places],
        flips=views.flips[places],
        whole=places >= views.regions,
    )


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
        report: Callable[[int], None],
    ) -> None:
        """Encode chunk after chunk; each image is decoded once for a batch of its views.

        keep: called with keys (n, 16) and features (n, dim) of each chunk, and of what was encoded
        of the last one when this ends early; report: called with the views of each batch.
        Raises UserError naming the file when an image does not decode or is not the planned one,
        and when the encoder's features are not finite.
        """
        batch = self.encoder.batch_size  # what stands ready, decoded and cut, is bounded by it
        jobs = ((chunk, views) for chunk in chunks for views in chunk.by_image(batch))
        cropped = _ahead(self._cropped, jobs, self.threads)
        for _, crops in itertools.groupby(cropped, lambda one: id(one[0])):
            self._run_one(*_joined(crops), keep, report)

    def _run_one(
        self,
        chunk: Chunk,
        pixels: Iterator[Pixels],
        keep: Callable[[Keys, NDArray[np.float32]], None],
        report: Callable[[int], None],
    ) -> None:
        rows: list[NDArray[np.float32]] = []
        try:
            while batch := list(itertools.islice(pixels, self.encoder.batch_size)):
                rows.append(self._encode(batch))
                report(len(batch))
        finally:
            if rows:  # an interrupted build keeps what it has encoded
                features = np.concatenate(rows)
                keep(chunk.keys[: len(features)], features)

    def _encode(self, pixels: Sequence[Pixels]) -> NDArray[np.float32]:
        features = self.encoder.encode(np.stack(pixels))
        if features.shape != (len(pixels), self.encoder.dim) or not np.isfinite(features).all():
            raise UserError(
                f"{self.encoder.fingerprint.fields}: this encoder gave features of shape "
                f"{features.shape}, finite: {bool(np.isfinite(features).all())}; wanted finite "
                f"({len(pixels)}, {self.encoder.dim}): check its weights"
            )
        return features

    def _cropped(self, job: tuple[Chunk, range]) -> tuple[Chunk, list[Pixels]]:
        chunk, views = job
        image = int(chunk.images[views[0]])
        decoded = decode(self.folder / chunk.paths[image], chunk.hashes[image].tobytes())
        return chunk, [
            self.encoder.pixels(decoded, chunk.box(view), bool(chunk.flips[view])) for view in views
        ]


def _joined(crops: Iterator[tuple[Chunk, list[Pixels]]]) -> tuple[Chunk, Iterator[Pixels]]:
    """Return the one chunk of all `crops`, and its pixels view by view as they come."""
    chunk, first = next(crops)
    return chunk, itertools.chain(first, (view for _, pixels in crops for view in pixels))


def _ahead(work: Callable[[Job], Result], jobs: Iterable[Job], threads: int) -> Iterator[Result]:
    """Yield work(job) in the jobs' order, done by threads that stay at most two jobs ahead each."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
