"""Building a dataset's cache: encode the regions nobody encoded before, then write all in order."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fdbpl.cache.cache import CacheWriter
from fdbpl.cache.keys import Keys, feature_digest
from fdbpl.cache.manifest import Identity
from fdbpl.cache.store import Features, RegionStore
from fdbpl.cache.views import Box, Places, Plan, Views, distinct, image_hashes, views_of
from fdbpl.errors import UserError
from fdbpl.files import canonical_json
from fdbpl.images import DECODER, decode

FLUSH_VIEWS = 512  # what a killed build loses at most
SHARD_BYTES = 64 << 20  # of features in one shard, before compression
REPAIRS = 3  # rounds of encoding again what the store lost while it was read

Progress = Callable[[int, int], None]
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

    `pixels` is called from several threads at once, `encode` from one.
    """

    @property
    def fingerprint(self) -> Fingerprint: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102

    def pixels(self, image: Image, box: Box | None, flip: bool) -> NDArray[np.float32]:
        """Return one view's (3, S, S) input; box None is the test view of the whole image."""

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, dim) features of (n, 3, S, S) pixels, n <= batch_size."""


@dataclass(frozen=True)
class Counts:
    """What a build did: distinct views encoded and reused, and the store's damaged segments."""

    encoded: int
    reused: int
    faults: tuple[str, ...]


def build_cache(
    plan: Plan,
    folder: Path,
    encoder: Encoder,
    store: RegionStore,
    url: str | Path,
    *,
    kind: Literal["teacher", "student"],
    model: Mapping[str, Any],
    policy: Mapping[str, Any],
    dtype: Literal["float16", "float32"] = "float16",
    text: Mapping[str, NDArray[Any]] | None = None,
    progress: Progress | None = None,
    threads: int = 2,
) -> Counts:
    """Write the cache of `plan` as `encoder` sees it, and return what had to be encoded.

    folder: holds the images of plan.paths; url: any fsspec URL for the cache; model: JSON fields
    that a reader needs to know of the model, for the manifest; policy: JSON fields
    of the crop law, its seed and count, for the manifest; dtype: of the stored features;
    text: named arrays kept with the cache; progress: called with (views encoded, views to encode);
    threads: for decoding and cropping ahead of the encoder.

    The table "train" has the columns key, image, crop, box, flip, feature for plan.regions, the
    table "test" key, image, feature for plan.test. Equal arguments give equal bytes, whatever the
    store held before and however often the build was interrupted.
    Raises UserError naming the file when an image does not decode or is not the planned one, and
    when the encoder's features are not finite.
    """
    builder = _Builder(plan, folder, encoder, store, np.dtype(dtype).newbyteorder("<"), threads)
    views = views_of(plan, builder.digest)
    wanted = distinct(views.keys)
    builder.encode_missing(views, wanted, progress or _silent)
    identity = Identity(
        kind=kind,
        model=json.loads(canonical_json(dict(model))),
        dataset=plan.name,
        plan=plan.digest,
        policy=json.loads(canonical_json(dict(policy))),
        encoder=json.loads(canonical_json(dict(encoder.fingerprint.fields))),
        decoder=DECODER,
        dtype=builder.dtype.str,
    )
    writer = CacheWriter(url, identity)
    for part in _parts(0, views.regions, builder.shard_rows):
        taken = {name: plan.regions[name][part] for name in plan.regions.dtype.names or ()}
        features = builder.features(views, part)
        writer.add("train", {"key": views.keys[part], **taken, "feature": features})
    for part in _parts(views.regions, len(views.keys), builder.shard_rows):
        image = views.images[part].astype(np.uint32)
        features = builder.features(views, part)
        writer.add("test", {"key": views.keys[part], "image": image, "feature": features})
    for name, values in (text or {}).items():
        writer.add(f"text/{name}", {"values": values})
    writer.finish()
    return Counts(builder.encoded, max(0, len(wanted) - builder.encoded), store.faults)


def region_features(
    plan: Plan,
    folder: Path,
    encoder: Encoder,
    store: RegionStore,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    progress: Progress | None = None,
    threads: int = 2,
) -> tuple[Features, Counts]:
    """Return the features (n, dim) of plan.regions, and what had to be encoded.

    The same numbers as a cache would hold, for regions that no cache is wanted of: only the store
    keeps them. Arguments and errors as of build_cache.
    """
    builder = _Builder(plan, folder, encoder, store, np.dtype(dtype).newbyteorder("<"), threads)
    views = views_of(plan, builder.digest)
    part = slice(0, views.regions)
    wanted = distinct(views.keys[part])
    builder.encode_missing(views, wanted, progress or _silent)
    features = builder.features(views, part)
    return features, Counts(builder.encoded, max(0, len(wanted) - builder.encoded), store.faults)


def unseen_views(
    plan: Plan, encoder: Encoder, store: RegionStore, dtype: Literal["float16", "float32"]
) -> Keys:
    """Return the (n, 16) keys of the distinct views that a build of `plan` would encode."""
    builder = _Builder(plan, Path(), encoder, store, np.dtype(dtype).newbyteorder("<"), 1)
    views = views_of(plan, builder.digest)
    return views.keys[builder.missing(views, distinct(views.keys))]


class _Builder:
    """The encoder, the store and the images of one build."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        encoder: Encoder,
        store: RegionStore,
        dtype: np.dtype[Any],
        threads: int,
    ) -> None:
        self._plan, self._folder, self._encoder, self._store = plan, folder, encoder, store
        self._threads = threads
        self.dtype = dtype
        self.encoded = 0
        payload = {"decoder": DECODER, "dtype": dtype.str}
        self.digest = feature_digest({**payload, "encoder": encoder.fingerprint.digest})
        self._about = {**payload, "encoder": dict(encoder.fingerprint.fields)}
        self.shard_rows = max(1, SHARD_BYTES // (encoder.dim * dtype.itemsize))

    def features(self, views: Views, part: slice) -> Features:
        """Return the stored features of views[part], encoding again what the store lost."""
        keys = views.keys[part]
        if not len(keys):
            return np.empty((0, self._encoder.dim), self.dtype)
        for _ in range(REPAIRS):
            found, features = self._store.find(self.digest, keys)
            if found.all():
                return features
            self.encode_missing(views, part.start + distinct(keys), _silent)
        raise UserError(
            f"{self._store.faults[-1]} (encoded {REPAIRS} times and lost each time: check the "
            "disk that holds the store)"
        )

    def missing(self, views: Views, places: Places) -> Places:
        """Return those of the places whose views the store has not."""
        return places[~self._store.contains(self.digest, views.keys[places])]

    def encode_missing(self, views: Views, places: Places, progress: Progress) -> None:
        """Encode and store those of views[places], distinct ones, that the store has not."""
        missing = self.missing(views, places)
        done: list[int] = []
        rows: list[NDArray[np.float32]] = []

        def flush() -> None:
            if done:
                features = np.concatenate(rows).astype(self.dtype)
                self._store.add(self.digest, self._about, views.keys[done], features)
                self.encoded += len(done)
                done.clear()
                rows.clear()

        count = 0
        try:
            for batch in _batches(self._pixels(views, missing), self._encoder.batch_size):
                rows.append(self._encode([pixels for _, pixels in batch]))
                done += [place for place, _ in batch]
                count += len(batch)
                if len(done) >= FLUSH_VIEWS:
                    flush()
                progress(count, len(missing))
        finally:
            flush()  # an interrupted build keeps what it has encoded

    def _encode(self, pixels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        features = self._encoder.encode(np.stack(pixels))
        if features.shape != (len(pixels), self._encoder.dim) or not np.isfinite(features).all():
            raise UserError(
                f"{self._encoder.fingerprint.fields}: this encoder gave features of shape "
                f"{features.shape}, finite: {bool(np.isfinite(features).all())}; wanted finite "
                f"({len(pixels)}, {self._encoder.dim}): check its weights"
            )
        return features

    def _pixels(self, views: Views, places: Places) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (view, pixels) image by image; each image is decoded once for all its views."""
        ordered = places[np.argsort(views.images[places], kind="stable")]
        starts = np.flatnonzero(np.diff(views.images[ordered], prepend=-1))
        groups = np.split(ordered, starts[1:]) if len(ordered) else []

        def work(group: Places) -> list[tuple[int, NDArray[np.float32]]]:
            image = self._decoded(int(views.images[group[0]]))
            return [
                (view, self._encoder.pixels(image, views.box(view), bool(views.flips[view])))
                for view in group.tolist()
            ]

        for crops in _ahead(work, groups, self._threads):
            yield from crops

    def _decoded(self, image: int) -> Image:
        content = image_hashes(self._plan)[image].tobytes()
        return decode(self._folder / self._plan.paths[image], content)


def _batches(
    items: Iterator[tuple[int, NDArray[np.float32]]], size: int
) -> Iterator[list[tuple[int, NDArray[np.float32]]]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


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


def _parts(start: int, stop: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover start to stop, one empty slice for nothing."""
    for first in range(start, max(stop, start + 1), size):
        yield slice(first, min(first + size, stop))


def _silent(done: int, total: int) -> None:
    """Report nothing."""
