"""The region store: every feature ever encoded, looked up by its key.

One folder for each digest of encoder and payload, holding `about.json` for people and segments:
shards with the columns key (n, 16) and feature (n, dim). A segment is named by its content, so two
writers never meet, and it is never changed; a damaged one counts as absent, and what it held is
encoded again.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.codec import Shard, encode_shard
from fdbpl.cache.keys import KEY_BYTES, Keys, sortable
from fdbpl.cache.layout import Column, DamagedShard, UnknownVersion, damaged
from fdbpl.cache.place import Place
from fdbpl.system.files import readable_json, sha256

ABOUT = "about.json"
SUFFIX = ".segment"

# Keys of segments kept in memory for the next lookup, 128 MiB; those beyond are read again.
KEPT_KEYS = 8 << 20
SCANNED_KEYS = 1 << 18  # looked through at a time

# A remote segment is fetched whole unless so many of its bytes are not wanted: in the time that
# the requests for its parts take, a connection carries about as many.
SPARED_BYTES = 1 << 20

Features = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


class RegionStore:
    """The store at `url`, any fsspec URL; one object serves one thread.

    Its segments are listed when a digest is first looked up, and when a lookup is refreshed.
    """

    def __init__(self, url: str | Path) -> None:
        """Open the store, which need not exist. Raises UserError for an unusable URL."""
        self._place = Place(url)
        self._segments: dict[str, _Segments] = {}
        self._faults: list[str] = []

    @property
    def url(self) -> str:
        """The store's full URL, by which other processes find it."""
        return self._place.url()

    @property
    def faults(self) -> tuple[str, ...]:
        """One line for each segment found damaged so far; its features count as absent."""
        return tuple(self._faults)

    def lookup(self, digest: str, keys: Keys) -> "Lookup":
        """Return what is stored of (n, 16) keys, repeats allowed, under the digest.

        digest: hexadecimal, of encoder and payload. The memory it takes depends on these keys
        alone, however large the store is.
        """
        return Lookup(self, self._of(digest), keys)

    def add(self, digest: str, fields: Mapping[str, Any], keys: Keys, features: Features) -> str:
        """Store features (n, dim) under (n, 16) keys as one more segment, and return its name.

        fields: what `digest` stands for, kept beside the segments for people to read.
        Raises UserError when the store cannot be written; nothing half-written is then found.
        """
        data = encode_shard({"key": keys, "feature": features})
        name = sha256(data)[:32] + SUFFIX
        if not self._place.exists(f"{digest}/{ABOUT}"):
            self._place.write(f"{digest}/{ABOUT}", readable_json(dict(fields)))
        self._place.write(f"{digest}/{name}", data)
        self.adopt(digest, name, keys, features.shape[1], features.dtype)
        return name

    def adopt(self, digest: str, name: str, keys: Keys, dim: int, dtype: np.dtype[Any]) -> None:
        """Take up a segment of (n, 16) keys that was just written, by whomever."""
        if digest in self._segments:
            self._segments[digest].add(name, keys, dim, dtype)

    def _of(self, digest: str) -> "_Segments":
        if digest not in self._segments:
            self._segments[digest] = _Segments(self._place, digest, self._faults)
            self._segments[digest].list()
        return self._segments[digest]


class Lookup:
    """Where the features of some keys are stored. What others add is seen after `refresh`."""

    def __init__(self, store: RegionStore, segments: "_Segments", keys: Keys) -> None:
        """Look through all segments for (n, 16) keys."""
        self._store, self._segments = store, segments
        self._wanted = np.unique(sortable(keys))
        self._segment = np.full(len(self._wanted), -1, np.int32)
        self._row = np.zeros(len(self._wanted), np.int32)
        self._seen = 0
        self._scan()

    def refresh(self) -> None:
        """Take up what other builders stored meanwhile."""
        self._segments.list()
        self._scan()

    def contains(self, keys: Keys) -> Mask:
        """Tell for each of (n, 16) keys, among those looked up, whether its feature is stored."""
        self._scan()
        return self._segment[self._places(keys)] >= 0

    def find(self, keys: Keys) -> tuple[Mask, Features]:
        """Return found (n,) and features (n, dim) in the order of (n, 16) keys, repeats allowed.

        keys: among those looked up. Rows not found are zero; dim is 0 while nothing is stored.
        """
        while True:
            self._scan()
            places = self._places(keys)
            segments, rows = self._segment[places], self._row[places]
            features = np.zeros((len(keys), self._segments.dim), self._segments.dtype)
            try:
                for here in _groups(np.flatnonzero(segments >= 0), segments):
                    number = int(segments[here[0]])
                    features[here] = self._segments.features(number, rows[here])
            except _LostSegmentError as lost:
                self._segments.drop(lost.number)
                self._segment[self._segment == lost.number] = -1
                # Look again: another segment may hold the same keys, one of those known, or one
                # that a cleaning of the store put together of this one and others.
                self._segments.list()
                self._seen = 0
            else:
                return segments >= 0, features

    def _places(self, keys: Keys) -> Places:
        places: Places = np.searchsorted(self._wanted, sortable(keys))
        return places

    def _scan(self) -> None:
        """Look through the segments that were not seen yet; of equal keys the first one counts."""
        for numbers, rows, keys in self._segments.scan(self._seen):
            if len(self._wanted):
                place = np.minimum(np.searchsorted(self._wanted, keys), len(self._wanted) - 1)
                hits = np.flatnonzero((self._wanted[place] == keys) & (self._segment[place] < 0))
                place, first = np.unique(place[hits], return_index=True)
                self._segment[place] = numbers[hits][first]
                self._row[place] = rows[hits][first]
        self._seen = len(self._segments.names)


class _Segments:
    """The segments of one digest, in the order in which they came to be known."""

    def __init__(self, place: Place, digest: str, faults: list[str]) -> None:
        self._place, self._digest, self._faults = place, digest, faults
        self._known: set[str] = set()
        self._keys: list[Keys | None] = []  # None: not kept
        self._kept = 0
        self._rows: list[int] = []
        self.names: list[str] = []
        self.dim = 0
        self.dtype: np.dtype[Any] = np.dtype("<f2")

    def list(self) -> None:
        """Take up the segments that were not there, or not known, before."""
        for name in self._place.names(self._digest):
            if name.endswith(SUFFIX) and not name.startswith(".") and name not in self._known:
                self._known.add(name)
                self._load(name)

    def add(self, name: str, keys: Keys, dim: int, dtype: np.dtype[Any]) -> None:
        """Take up a segment with (n, 16) keys."""
        self._known.add(name)
        self.names.append(name)
        self._rows.append(len(keys))
        keep = self._kept + len(keys) <= KEPT_KEYS
        self._kept += len(keys) if keep else 0
        self._keys.append(keys.copy() if keep else None)  # of a view only these rows
        self.dim, self.dtype = dim, dtype

    def drop(self, number: int) -> None:
        """Forget the keys of a segment that is lost."""
        self._keys[number] = np.empty((0, KEY_BYTES), np.uint8)

    def scan(
        self, first: int
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bytes_]]]:
        """Yield segment numbers, rows and sortable keys of all segments from `first` on."""
        parts: list[Keys] = []
        count = 0
        for number in range(first, len(self.names)):
            kept = self._keys[number]
            parts.append(self._read_keys(number) if kept is None else kept)
            count += len(parts[-1])
            if number + 1 == len(self.names) or count >= SCANNED_KEYS:
                counts = [len(part) for part in parts]
                yield (
                    np.repeat(
                        np.arange(number + 1 - len(parts), number + 1, dtype=np.int32), counts
                    ),
                    np.concatenate([np.arange(rows, dtype=np.int32) for rows in counts]),
                    sortable(np.concatenate(parts)),
                )
                parts, count = [], 0

    def features(self, number: int, rows: NDArray[np.int32]) -> Features:
        """Return the features of some rows of a segment. Raises _LostSegmentError."""
        path = f"{self._digest}/{self.names[number]}"
        spared = (self._rows[number] - len(rows)) * self.dim * self.dtype.itemsize
        try:
            with closing(self._place.open(path, whole=spared < SPARED_BYTES)) as file:
                return Shard(file, self._place.url(path)).read(["feature"], rows)["feature"]
        except (DamagedShard, UnknownVersion, FileNotFoundError) as error:
            self._faults.append(_fault(error, self._place.url(path)))
            raise _LostSegmentError(number) from error

    def _load(self, name: str) -> None:
        """Take up a segment that was listed, or its fault."""
        try:
            keys, feature = self._open(name)
            if self.names and (feature.dtype, feature.row_items) != (self.dtype, self.dim):
                raise damaged(
                    self._place.url(f"{self._digest}/{name}"),
                    "its features are unlike those of other segments",
                )
        except (DamagedShard, UnknownVersion) as error:
            self._faults.append(str(error))
        except FileNotFoundError:
            return  # tidied away since it was listed
        else:
            self.add(name, keys, feature.row_items, feature.dtype)

    def _read_keys(self, number: int) -> Keys:
        """Return the keys of a segment that are not kept; none when it was lost meanwhile."""
        try:
            return self._open(self.names[number])[0]
        except (DamagedShard, UnknownVersion, FileNotFoundError) as error:
            path = f"{self._digest}/{self.names[number]}"
            self._faults.append(_fault(error, self._place.url(path)))
            self.drop(number)
            return np.empty((0, KEY_BYTES), np.uint8)

    def _open(self, name: str) -> tuple[Keys, Column]:
        path = f"{self._digest}/{name}"
        with closing(self._place.open(path, whole=False)) as file:
            return segment_columns(Shard(file, self._place.url(path)))


def _fault(error: Exception, name: str) -> str:
    """Return what is wrong with the segment `name`."""
    return f"{name}: it is missing" if isinstance(error, FileNotFoundError) else str(error)


def _groups(places: Places, segments: NDArray[np.int32]) -> list[Places]:
    """Return `places` split by the segment they lie in; none for no places."""
    ordered = places[np.argsort(segments[places], kind="stable")]
    return np.split(ordered, np.flatnonzero(np.diff(segments[ordered])) + 1) if len(places) else []


def segment_columns(shard: Shard) -> tuple[Keys, Column]:
    """Return a segment's keys and its feature column; raise DamagedShard when it has neither."""
    columns = shard.head.columns
    shapes = {name: len(column.shape) for name, column in columns.items()}
    if shapes != {"key": 1, "feature": 1} or columns["key"].shape != (KEY_BYTES,):
        raise damaged(shard.name, f"no segment: its columns are {', '.join(columns)}")
    return shard.read(["key"])["key"], columns["feature"]


class _LostSegmentError(Exception):
    """A segment that was whole, or there, when its keys were read."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
