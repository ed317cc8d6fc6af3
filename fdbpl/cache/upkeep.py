"""Looking after caches and region stores: finding, verifying and cleaning them.

Cleaning a store removes what no cache holds and puts small segments together to large ones. These
follow the order of the caches, in which builds ask for the rows, so that the rows of one shard of a
cache lie side by side in few of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache import manifest as manifests
from fdbpl.cache.cache import open_cache
from fdbpl.cache.format import DamagedShard, Shard
from fdbpl.cache.keys import Keys, sortable
from fdbpl.cache.manifest import DamagedManifest
from fdbpl.cache.place import Place
from fdbpl.cache.store import ABOUT, SUFFIX, segment_columns, segment_names, write_segment
from fdbpl.cache.views import Places, distinct
from fdbpl.system.errors import UserError

SEGMENT_BYTES = 64 << 20  # of the segments that small ones are put together to, before compression
SMALL = 0.5  # of that: below it a segment is small
Array = NDArray[np.generic]

GOES = -1  # the place of a row that does not stay


@dataclass(frozen=True)
class Verdict:
    """What verifying found: what was read, and a line for each damaged file."""

    caches: int
    segments: int  # of region stores
    bytes: int  # of all shards and segments
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """What cleaning one folder of segments does, or would do."""

    url: str
    kept: int  # rows that a cache holds
    dropped: int  # rows that none holds, or that stand twice
    segments: tuple[int, int]  # before and after
    bytes: tuple[int, int]  # before and after, the second an estimate where nothing was written
    faults: tuple[str, ...]  # a line for each damaged segment, which counts as absent and goes too
    leftovers: int  # files that killed writers left half-written, which go as well


@dataclass(frozen=True)
class Segment:
    """A sound segment, and the place (n,) of each of its rows among the held keys, or GOES."""

    name: str
    bytes: int
    places: Places

    @property
    def stays(self) -> NDArray[np.bool_]:
        """Which rows (n,) stay."""
        return self.places != GOES


def cache_urls(url: str | Path) -> list[str]:
    """Return the URLs of all caches at and below `url`, sorted."""
    return Place(url).holders(manifests.NAME)


def verify(url: str | Path) -> Verdict:
    """Read every byte of the cache at `url`, or else of all caches and region stores below it.

    Raises UserError when there is none, or one is of an unknown version or cannot be read.
    """
    place = Place(url)
    # a cache is read without listing, which not every store allows
    alone = place.exists(manifests.NAME)
    caches = [str(url)] if alone else cache_urls(url)
    stores = [] if alone else place.holders(ABOUT)
    if not caches and not stores:
        raise UserError(
            f"{place.url()}: neither a cache nor a region store here or below; wanted a folder or "
            "URL such as caches/NAME/teacher, with its manifest.json"
        )
    faults: list[str] = []
    size = segments = 0
    for one in caches:
        try:
            cache = open_cache(one)
        except DamagedManifest as error:
            faults.append(str(error))
        else:
            faults += cache.verify()
            size += cache.manifest.size
    for one in stores:
        for _, segment_bytes, found in _checked(Place(one)):
            segments += 1
            size += segment_bytes
            faults += [found] if isinstance(found, str) else []
    return Verdict(len(caches), segments, size, tuple(faults))


def _checked(place: Place) -> Iterator[tuple[str, int, Keys | str]]:
    """Read every byte of the segments directly in a folder.

    Yields name, bytes and keys of each that is what its name says, with all blocks whole; of any
    other its name, 0 and its fault. Such a one is read twice: it is not removed for a single bad
    answer of the store.
    Raises UserError when one is of an unknown version or cannot be read.
    """
    for name in segment_names(place):
        try:
            try:
                yield _whole_segment(place, name)
            except DamagedShard:
                yield _whole_segment(place, name)
        except DamagedShard as error:
            yield name, 0, str(error)
        except FileNotFoundError:
            continue  # tidied away since it was listed


def _whole_segment(place: Place, name: str) -> tuple[str, int, Keys]:
    data = place.read(name)
    shard = Shard(data, place.url(name))
    shard.require_sha256(name.removesuffix(SUFFIX))
    keys, _ = segment_columns(shard)
    shard.read(["feature"])
    return name, len(data), keys


def held_keys(urls: Iterable[str | Path]) -> Keys:
    """Return the keys (n, 16) that the caches at and below `urls` hold, each once, in their order.

    Raises UserError when there is no cache, or one cannot be read: it may hold anything.
    """
    found = []
    for url in urls:
        caches = cache_urls(url)
        if not caches:
            raise UserError(
                f"{Place(url).url()}: no cache here or below, so nothing of the store would be "
                "kept; wanted folders or URLs that hold all caches in use: leave out what is not "
                "there"
            )
        for cache in map(open_cache, caches):
            found += [cache.column(table, "key") for table in ("train", "test")]
    keys = np.concatenate(found)
    return keys[distinct(keys)]


def sweep(store: str | Path, held: Keys, *, delete: bool) -> list[Sweep]:
    """Clean every folder of the region store at `store`; return what was done.

    held: the keys (n, 16) that stay, each once, in the order that large segments follow; delete:
    whether to do it, or only to say what it would do.
    New segments are written whole before old ones go, so that a region that stays can be read at
    every moment; a build that runs meanwhile encodes again what it no longer finds.
    Raises UserError when there is no store, a segment is of an unknown version, or the place
    refuses to read or write.
    """
    urls = Place(store).holders(ABOUT)
    if not urls:
        raise UserError(f"{Place(store).url()}: no region store here; wanted cache.store")
    return [_swept(url, held, delete) for url in urls]


def _swept(url: str, held: Keys, delete: bool) -> Sweep:
    place = Place(url)
    # Every byte is read: a segment whose keys alone are sound would pass for the first copy of what
    # it lost, and the sound copy would go.
    checked = list(_checked(place))
    damaged = {name: fault for name, _, fault in checked if isinstance(fault, str)}
    segments = _judged([one for one in checked if one[0] not in damaged], held)
    left_behind = [
        name
        for name in place.names()  # what is younger may be another build's that is still at it
        if name.startswith(".") and (SUFFIX in name or ABOUT in name) and place.is_left(name)
    ]
    again = _to_rewrite(segments)
    rows = [segment for segment in again if segment.stays.any()]
    before = sum(segment.bytes for segment in segments)
    left = before - sum(segment.bytes for segment in again)
    if delete:
        written = dict(_packed(place, rows))
        for name in [*damaged, *left_behind, *(segment.name for segment in again)]:
            if name not in written:
                place.remove(name)
        after, count = left + sum(written.values()), len(written)
    else:
        shares = sum(segment.bytes * float(segment.stays.mean()) for segment in rows)
        after, count = left + int(shares), int(np.ceil(shares / SEGMENT_BYTES))
    kept = sum(int(segment.stays.sum()) for segment in segments)
    return Sweep(
        url=url,
        kept=kept,
        dropped=sum(len(segment.places) for segment in segments) - kept,
        segments=(len(checked), len(segments) - len(again) + count),
        bytes=(before, after),
        faults=tuple(damaged.values()),
        leftovers=len(left_behind),
    )


def _judged(sound: Sequence[tuple[str, int, Any]], held: Keys) -> list[Segment]:
    """Return the sound segments, with which rows stay: of equal keys the first."""
    everything = sortable(np.concatenate([held[:0], *(keys for _, _, keys in sound)]))
    known, first = np.unique(everything, return_index=True)
    _, place, row = np.intersect1d(sortable(held), known, assume_unique=True, return_indices=True)
    places = np.full(len(everything), GOES)
    places[first[row]] = place
    ends = np.cumsum([len(keys) for _, _, keys in sound])
    parts = np.split(places, ends[:-1])
    return [Segment(name, size, part) for (name, size, _), part in zip(sound, parts, strict=False)]


def _to_rewrite(segments: Sequence[Segment]) -> list[Segment]:
    """Return those that lose rows, and the small ones if there is anything to join them with."""
    losing = [s for s in segments if not s.stays.all()]
    small = [s for s in segments if s.stays.all() and s.bytes < SMALL * SEGMENT_BYTES]
    return losing + small if len(small) + sum(s.stays.any() for s in losing) > 1 else losing


def _packed(place: Place, segments: Sequence[Segment]) -> Iterator[tuple[str, int]]:
    """Write the rows that stay as large segments; yield the name and bytes of each.

    Segments follow one another by the first place that each holds: those that a build wrote hold
    neighbours, so it needs no sorting of all rows.
    """
    waiting: list[tuple[Places, Mapping[str, Array]]] = []
    size = 0
    ordered = sorted(segments, key=lambda s: int(s.places[s.stays].min()))
    for number, segment in enumerate(ordered, start=1):
        name = place.url(segment.name)
        try:
            shard = Shard(place.read(segment.name), name)
            shard.require_sha256(segment.name.removesuffix(SUFFIX))  # still what was judged
            columns = shard.read(rows=np.flatnonzero(segment.stays))
        except (DamagedShard, FileNotFoundError) as error:
            raise UserError(
                f"{name}: changed while the store was cleaned ({error}); nothing was removed: run "
                "again"
            ) from error
        waiting.append((segment.places[segment.stays], columns))
        size += sum(values.nbytes for values in columns.values())
        if size >= SEGMENT_BYTES or number == len(ordered):
            order = np.argsort(np.concatenate([places for places, _ in waiting]))
            yield write_segment(
                place,
                "",
                {
                    name: np.concatenate([columns[name] for _, columns in waiting])[order]
                    for name in columns
                },
            )
            waiting, size = [], 0
