"""Cleaning a region store: what no cache holds is removed, small segments become large ones.

Large segments follow the order of the caches, in which builds ask for the rows, so that the rows of
one shard of a cache lie side by side in few of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import open_cache
from fdbpl.cache.codec import Shard, encode_shard
from fdbpl.cache.keys import Keys, sortable
from fdbpl.cache.layout import DamagedShard
from fdbpl.cache.place import Place
from fdbpl.cache.store import SUFFIX
from fdbpl.cache.views import distinct
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256
from fdbpl.upkeep.survey import cache_urls, checked_segment, leftovers, segment_names, store_urls

SEGMENT_BYTES = 64 << 20  # of the segments that small ones are put together to, before compression
SMALL = 0.5  # of that: below it a segment is small

Array = NDArray[np.generic]
Places = NDArray[np.int64]

GOES = -1  # the place of a row that does not stay


@dataclass(frozen=True)
class Held:
    """The keys (n,) that stay, ascending, and the place (n,) of each in the caches' order."""

    keys: NDArray[np.bytes_]
    places: Places

    def find(self, keys: NDArray[np.bytes_]) -> Places:
        """Return the place of each of some keys (m,), GOES where it is not held."""
        if not len(self.keys):
            return np.full(len(keys), GOES)
        near = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[near] == keys, self.places[near], GOES)


@dataclass(frozen=True)
class Segment:
    """One segment, and the place (n,) of each of its rows among the held keys, or GOES."""

    name: str
    bytes: int
    places: Places

    @property
    def stays(self) -> NDArray[np.bool_]:
        """Which rows (n,) stay."""
        return self.places != GOES

    @property
    def is_whole(self) -> bool:
        """Whether every row stays."""
        return bool(self.stays.all())


@dataclass(frozen=True)
class Sweep:
    """What cleaning one folder of segments does, or would do.

    Attributes:
        url: the folder.
        kept: rows that a cache holds.
        dropped: rows that none holds, or that stand twice.
        segments: their number before and after.
        bytes: of the segments before and after; after, an estimate where nothing was written.
        faults: one line for each damaged segment, which counts as absent and goes too.
        leftovers: files that killed writers left half-written, which go as well.
    """

    url: str
    kept: int
    dropped: int
    segments: tuple[int, int]
    bytes: tuple[int, int]
    faults: tuple[str, ...]
    leftovers: int


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
        for one in caches:
            cache = open_cache(one)
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
    urls = store_urls(store)
    if not urls:
        raise UserError(f"{Place(store).url()}: no region store here; wanted cache.store")
    keys = sortable(held)
    order = np.argsort(keys)
    ordered = Held(keys[order], order)
    return [_swept(url, ordered, delete) for url in urls]


def _swept(url: str, held: Held, delete: bool) -> Sweep:
    place = Place(url)
    names = segment_names(place)
    segments, faults = _judged(place, names, held)
    damaged = sorted(set(names) - {segment.name for segment in segments})
    left_behind = leftovers(place)
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
        shares = [segment.bytes * float(segment.stays.mean()) for segment in rows]
        after, count = left + int(sum(shares)), int(np.ceil(sum(shares) / SEGMENT_BYTES))
    kept = sum(int(segment.stays.sum()) for segment in segments)
    return Sweep(
        url=url,
        kept=kept,
        dropped=sum(len(segment.stays) for segment in segments) - kept,
        segments=(len(names), len(segments) - len(again) + count),
        bytes=(before, after),
        faults=tuple(faults),
        leftovers=len(left_behind),
    )


def _judged(place: Place, names: Sequence[str], held: Held) -> tuple[list[Segment], list[str]]:
    """Return the sound segments, with which rows stay, and the faults of the others.

    Every byte is read: a segment whose keys alone are sound would pass for the first copy of what
    it lost, and the sound copy would go.
    """
    found: list[tuple[str, int, NDArray[np.bytes_]]] = []
    faults: list[str] = []
    for name in names:
        try:
            size, keys = checked_segment(place, name)
            found.append((name, size, sortable(keys)))
        except DamagedShard as error:
            faults.append(str(error))
        except FileNotFoundError:
            continue  # tidied away since it was listed
    everything = np.concatenate([np.empty(0, held.keys.dtype), *(keys for _, _, keys in found)])
    places = np.full(len(everything), GOES)
    first = np.unique(everything, return_index=True)[1]  # of equal keys the first stays
    places[first] = held.find(everything[first])
    ends = np.cumsum([len(keys) for _, _, keys in found])
    parts = np.split(places, ends[:-1]) if found else []
    return [Segment(n, size, part) for (n, size, _), part in zip(found, parts, strict=True)], faults


def _to_rewrite(segments: Sequence[Segment]) -> list[Segment]:
    """Return those that lose rows, and the small ones if there is anything to join them with."""
    small = [s for s in segments if s.is_whole and s.bytes < SMALL * SEGMENT_BYTES]
    losing = [s for s in segments if not s.is_whole]
    joined = small if len(small) + sum(bool(s.stays.any()) for s in losing) > 1 else []
    return [*losing, *joined]


def _packed(place: Place, segments: Sequence[Segment]) -> Iterator[tuple[str, int]]:
    """Write the rows that stay as large segments; yield the name and bytes of each.

    Segments follow one another by the first place that each holds: those that a build wrote hold
    neighbours, so it needs no sorting of all rows.
    """
    waiting: list[tuple[Places, Mapping[str, Array]]] = []
    size = 0
    for segment in sorted(segments, key=lambda s: int(s.places[s.stays].min())):
        try:
            with closing(place.open(segment.name, whole=True)) as file:
                shard = Shard(file, place.url(segment.name))
                columns = shard.read(rows=np.flatnonzero(segment.stays))
        except (DamagedShard, FileNotFoundError) as error:
            raise UserError(
                f"{place.url(segment.name)}: changed while the store was cleaned ({error}); "
                "nothing was removed: run again"
            ) from error
        waiting.append((segment.places[segment.stays], columns))
        size += sum(values.nbytes for values in columns.values())
        if size >= SEGMENT_BYTES:
            yield _written(place, waiting)
            waiting, size = [], 0
    if waiting:
        yield _written(place, waiting)


def _written(place: Place, parts: Sequence[tuple[Places, Mapping[str, Array]]]) -> tuple[str, int]:
    """Write rows as one segment, in the order of their places; return its name and bytes."""
    order = np.argsort(np.concatenate([places for places, _ in parts]))
    names = parts[0][1]
    data = encode_shard(
        {name: np.concatenate([columns[name] for _, columns in parts])[order] for name in names}
    )
    name = sha256(data)[:32] + SUFFIX
    place.write(name, data)
    return name, len(data)
