"""Building a dataset's cache: encode the regions nobody encoded before, then write all in order."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import CacheWriter
from fdbpl.cache.encode import Chunk, ChunkEncoder, Encoder, chunk_of
from fdbpl.cache.keys import KEY_BYTES, Keys, digest_of
from fdbpl.cache.manifest import Identity, Kind
from fdbpl.cache.payload import STORED, Payload, decode, encode
from fdbpl.cache.store import Features, Lookup, RegionStore
from fdbpl.cache.views import Places, distinct, image_list_digest, views_of
from fdbpl.cache.workers import Crew, Job, encode_chunk, encoded_by
from fdbpl.data.images import DECODER
from fdbpl.regions.boxes import REGION
from fdbpl.regions.plan import Plan
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json
from fdbpl.system.progress import Report, silent

CHUNK_VIEWS = 512  # what a killed worker loses at most
SHARD_BYTES = 64 << 20  # of the stored features that one shard is made from
PART_VIEWS = 1 << 21  # planned and looked up at a time: some 200 MB, however large the cache
REPAIRS = 3  # rounds of encoding again what the store lost while it was read

# How often a build looks for what others stored meanwhile: every ten seconds, and for a twentieth
# of its time at most.
REFRESH_SECONDS = 10.0
REFRESH_SHARE = 0.05


@dataclass(frozen=True)
class Counts:
    """What a build did: distinct views encoded and reused, and what it found damaged in the store.

    A view that appears in two parts of a plan of millions counts in each.
    """

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
    kind: Kind,
    model: Mapping[str, Any],
    payload: Payload = "float16",
    text: Mapping[str, NDArray[Any]] | None = None,
    progress: Report = silent,
    threads: int = 2,
    crew: Crew | None = None,
) -> Counts:
    """Write the cache of `plan` as `encoder` sees it, and return what had to be encoded.

    folder: holds the images of plan.paths; url: any fsspec URL for the cache; model: JSON fields
    that a reader needs to know of the model, for the manifest; payload: how features are kept;
    text: named arrays kept with the cache; progress: called with (views encoded, views to encode);
    threads: for decoding and cropping ahead of each encoder; crew: workers that encode in place of
    this process.

    The table "train" has the columns key, image, crop, box, flip and the payload's for
    plan.regions, the table "test" key, image and the payload's for plan.test. Equal arguments give
    equal bytes, whatever the store held before, however often the build was interrupted, and
    whoever encoded.
    Raises UserError naming the file when an image does not decode or is not the planned one, when
    the encoder's features are not finite, and when the store or the cache cannot be written.
    """
    build = _Build(plan, folder, encoder, store, payload, threads, crew)
    regions, total = len(plan.regions), len(plan.regions) + len(plan.test)
    build.encode_missing(slice(0, total), progress)
    made = {"model": model, "encoder": encoder.fingerprint, "payload": {"name": payload}}
    writer = CacheWriter(url, identity_of(plan, kind, made))
    for part, keys, features in build.stored(slice(0, regions)):
        writer.add("train", {"key": keys, **columns_of(plan, part), **encode(features, payload)})
    for part, keys, features in build.stored(slice(regions, total)):
        image = plan.test[part.start - regions : part.stop - regions].astype(np.uint32)
        writer.add("test", {"key": keys, "image": image, **encode(features, payload)})
    for name, values in (text or {}).items():
        writer.add(f"text/{name}", {"values": values})
    writer.finish()
    return build.counts()


def identity_of(
    plan: Plan,
    kind: Kind,
    made: Mapping[str, Mapping[str, Any]],
) -> Identity:
    """Return what a cache of this plan is of; `made`: its model, encoder and payload."""
    fields = {
        **made,
        "kind": kind,
        "decoder": DECODER,
        "dataset": plan.name,
        "images": image_list_digest(plan),
        "policy": plan.policy,
        "plan": plan.digest,
    }
    return Identity(**json.loads(canonical_json(fields)))


def columns_of(plan: Plan, part: slice) -> dict[str, NDArray[Any]]:
    """Return the columns that say which regions those of a part of plan.regions are."""
    taken = plan.regions[part]
    return {name: taken[name] for name in REGION.names or ()}


def region_features(
    plan: Plan,
    folder: Path,
    encoder: Encoder,
    store: RegionStore,
    *,
    payload: Payload = "float16",
    progress: Report = silent,
    threads: int = 2,
) -> tuple[Features, Counts]:
    """Return the features (n, dim) of plan.regions, and what had to be encoded.

    The same numbers as a cache's table "test" would hold, for regions that no cache is wanted of:
    only the store keeps them. Arguments and errors as of build_cache.
    """
    build = _Build(plan, folder, encoder, store, payload, threads)
    part = slice(0, len(plan.regions))
    build.encode_missing(part, progress)
    stored = np.concatenate([features for _, _, features in build.stored(part)])
    return decode(encode(stored, payload)), build.counts()


def unseen_views(plan: Plan, encoder: Encoder, store: RegionStore, payload: Payload) -> Keys:
    """Return the (n, 16) keys of the distinct views that a build of `plan` would encode."""
    build = _Build(plan, Path(), encoder, store, payload, threads=1)
    found = [np.empty((0, KEY_BYTES), np.uint8)]
    for _, views, lookup in build.parts(slice(0, len(plan.regions) + len(plan.test))):
        found.append(views["key"][~lookup.contains(views["key"])])
    keys = np.concatenate(found)
    return keys[distinct(keys)]


class _Build:
    """One build: its plan, its encoder and the store."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        encoder: Encoder,
        store: RegionStore,
        payload: Payload,
        threads: int,
        crew: Crew | None = None,
    ) -> None:
        self._plan, self._encoder, self._store, self._crew = plan, encoder, store, crew
        self._chunks = ChunkEncoder(encoder, folder, threads)
        self._dtype = STORED[payload]
        fingerprint = dict(encoder.fingerprint)
        self._about = {"decoder": DECODER, "dtype": self._dtype.str, "encoder": fingerprint}
        self._digest = digest_of(fingerprint, DECODER, self._dtype)
        self._shard_rows = max(1, SHARD_BYTES // (encoder.dim * self._dtype.itemsize))
        self._part_rows = self._shard_rows * max(1, PART_VIEWS // self._shard_rows)
        batch = encoder.batch_size
        self._chunk_rows = batch * max(1, CHUNK_VIEWS // batch)  # no batch has to be padded
        self._wanted = self._encoded = 0
        self._faults_before = len(store.faults)  # of builds before this one

    def counts(self) -> Counts:
        """Return what was done so far."""
        reused = max(0, self._wanted - self._encoded)
        return Counts(self._encoded, reused, self._store.faults[self._faults_before :])

    def parts(self, views: slice) -> Iterator[tuple[slice, NDArray[np.void], Lookup]]:
        """Yield the plan's views part after part: (part, its VIEWs, what is stored of them)."""
        for part in slices(views, self._part_rows):
            planned = views_of(self._plan, self._digest, part)
            yield part, planned, self._store.lookup(self._digest, planned["key"])

    def encode_missing(self, views: slice, progress: Report) -> None:
        """Encode and store what the store has not of the plan's views."""
        done = 0
        for part, planned, lookup in self.parts(views):
            self._wanted += len(distinct(planned["key"]))
            later = views.stop - part.stop

            def report(encoded: int, missing: int, before: int = done, later: int = later) -> None:
                progress(before + encoded, before + missing + later)

            done += self._encode(planned, lookup, report)

    def stored(self, views: slice) -> Iterator[tuple[slice, Keys, Features]]:
        """Yield (part, keys, features) of the plan's views by shards, one empty for no views."""
        for part, planned, lookup in self.parts(views):
            for rows in slices(slice(0, len(planned)), self._shard_rows):
                shard = slice(part.start + rows.start, part.start + rows.stop)
                yield shard, planned["key"][rows], self._features(planned[rows], lookup)

    def _features(self, views: NDArray[np.void], lookup: Lookup) -> Features:
        """Return the stored features of (n,) VIEW, encoding again what the store lost."""
        if not len(views):
            return np.empty((0, self._encoder.dim), self._dtype)
        for _ in range(REPAIRS):
            found, features = lookup.find(views["key"])
            if found.all():
                return features
            self._encode(views, lookup, silent)
        raise UserError(
            f"{self._store.faults[-1]} (encoded {REPAIRS} times and lost each time: check the "
            "disk that holds the store)"
        )

    def _encode(self, views: NDArray[np.void], lookup: Lookup, report: Report) -> int:
        """Encode and store those of (n,) VIEW that the store has not; return their number."""
        missing = distinct(views["key"])
        missing = missing[~lookup.contains(views["key"][missing])]
        ordered = missing[np.argsort(views["image"][missing], kind="stable")]
        chunks = self._unfinished(views, ordered, lookup)
        done = 0

        def count(encoded: int) -> None:
            nonlocal done
            done += encoded
            report(done, len(missing))

        if self._crew is None:
            self._chunks.run(chunks, self._keep, count)
        else:
            encode_one = partial(encode_chunk, self._job(self._crew))
            for chunk, name in encoded_by(self._crew.pool, encode_one, chunks):
                self._store.adopt(self._digest, name, chunk.keys, self._encoder.dim, self._dtype)
                self._encoded += len(chunk)
                count(len(chunk))
        return done

    def _keep(self, keys: Keys, features: NDArray[np.float32]) -> None:
        self._store.add(self._digest, self._about, keys, features.astype(self._dtype))
        self._encoded += len(keys)

    def _unfinished(
        self, views: NDArray[np.void], ordered: Places, lookup: Lookup
    ) -> Iterator[Chunk]:
        """Yield chunks of views[ordered], without what other builds stored meanwhile.

        Begins anywhere, so that two builds of one cache meet at the end and not at every chunk.
        """
        starts = list(range(0, len(ordered), self._chunk_rows))
        first = secrets.randbelow(len(starts)) if starts else 0
        due = time.monotonic() + REFRESH_SECONDS
        for start in starts[first:] + starts[:first]:
            now = time.monotonic()
            if now >= due:
                lookup.refresh()
                took = time.monotonic() - now
                due = now + max(REFRESH_SECONDS, took / REFRESH_SHARE)
            chunk = views[ordered[start : start + self._chunk_rows]]
            left = chunk[~lookup.contains(chunk["key"])]
            if len(left):
                yield chunk_of(self._plan, left)

    def _job(self, crew: Crew) -> Job:
        if "memory://" in self._store.url and not crew.pool.shares_memory:
            raise UserError(
                f"cache.store is {self._store.url}, which only this process sees: wanted "
                "workers.kind threads, or a store in a folder or at a URL that all workers reach"
            )
        return Job(
            home=Path.cwd(),
            folder=self._chunks.folder.absolute(),
            store=self._store.url,
            digest=self._digest,
            about=self._about,
            threads=self._chunks.threads,
            make_encoder=crew.make_encoder,
            encoder=self._encoder if crew.pool.shares_memory else None,
        )


def slices(whole: slice, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `whole`, one empty slice for nothing."""
    for first in range(whole.start, max(whole.stop, whole.start + 1), size):
        yield slice(first, min(first + size, whole.stop))
