"""The region store: every feature ever encoded, looked up by its key.

One folder for each digest of encoder and payload, holding `about.json` for people and segments:
shards with the columns key (n, 16) and feature (n, dim). A segment is named by its content, so two
writers never meet, and it is never changed; a damaged one counts as absent, and what it held is
encoded again.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.format import Column, DamagedShard, Shard, UnknownVersion, damaged, encode_shard
from fdbpl.cache.keys import KEY_BYTES, Keys, sortable
from fdbpl.cache.place import Place
from fdbpl.system.files import readable_json, sha256

ABOUT = "about.json"
SUFFIX = ".segment"

# Keys of segments kept in memory for the next lookup, 128 MiB; those beyond are read again.
KEPT_KEYS = 8 << 20

# A remote segment is fetched whole unless so many of its bytes are not wanted: in the time that
# the requests for its parts take, a connection carries about as many.
SPARED_BYTES = 1 << 20

NO_KEYS = np.empty((0, KEY_BYTES), np.uint8)

Features = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]
Result = TypeVar("Result")


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
        if digest not in self._segments:
            self._segments[digest] = _Segments(self._place, digest, self._faults)
            self._segments[digest].list()
        return Lookup(self._segments[digest], keys)

    def add(self, digest: str, fields: Mapping[str, Any], keys: Keys, features: Features) -> str:
        """Store features (n, dim) under (n, 16) keys as one more segment, and return its name.

        fields: what `digest` stands for, kept beside the segments for people to read.
        Raises UserError when the store cannot be written; nothing half-written is then found.
        """
        if not self._place.exists(f"{digest}/{ABOUT}"):
            self._place.write(f"{digest}/{ABOUT}", readable_json(dict(fields)))
        name = write_segment(self._place, f"{digest}/", {"key": keys, "feature": features})[0]
        self.adopt(digest, name, keys, features.shape[1], features.dtype)
        return name

    def adopt(self, digest: str, name: str, keys: Keys, dim: int, dtype: np.dtype[Any]) -> None:
        """Take up a segment of (n, 16) keys that was just written, by whomever."""
        if digest in self._segments:
            self._segments[digest].add(name, keys, dim, dtype)


class Lookup:
    """Where the features of some keys are stored. What others add is seen after `refresh`."""

    def __init__(self, segments: "_Segments", keys: Keys) -> None:
        """Look through all segments for (n, 16) keys."""
        self._segments = segments
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
            for here in _grouped(np.flatnonzero(segments >= 0), segments):
                number = int(segments[here[0]])
                values = self._segments.features(number, rows[here], keys[here])
                if values is None:
                    self._segment[self._segment == number] = -1
                    # Look again: another segment may hold the same keys, one of those known, or
                    # one that a cleaning of the store put together of this one and others.
                    self._segments.list()
                    self._seen = 0
                    break
                features[here] = values
            else:
                return segments >= 0, features

    def _places(self, keys: Keys) -> Places:
        places: Places = np.searchsorted(self._wanted, sortable(keys))
        return places

    def _scan(self) -> None:
        """Look through the segments that were not seen yet; of equal keys the first one counts."""
        count = len(self._segments.names)
        for number in range(self._seen, count if len(self._wanted) else 0):
            keys = sortable(self._segments.keys(number))
            place = np.minimum(np.searchsorted(self._wanted, keys), len(self._wanted) - 1)
            rows = np.flatnonzero((self._wanted[place] == keys) & (self._segment[place] < 0))
            self._segment[place[rows]] = number
            self._row[place[rows]] = rows
        self._seen = count


def _grouped(places: Places, segments: NDArray[np.int32]) -> list[Places]:
    """Return `places` split by the segment they lie in; none for no places."""
    ordered = places[np.argsort(segments[places], kind="stable")]
    return np.split(ordered, np.flatnonzero(np.diff(segments[ordered])) + 1) if len(places) else []


class _Segments:
    """The segments of one digest, in the order in which they came to be known."""

    def __init__(self, place: Place, digest: str, faults: list[str]) -> None:
        self._place, self._digest, self._faults = place, digest, faults
        self._known: set[str] = set()
        self._keys: list[Keys | None] = []  # None: not kept
        self._kept = 0
        self._rows: list[int] = []
        self._crcs: list[int | None] = []  # which stand for a segment's content
        self.names: list[str] = []
        self.dim = 0
        self.dtype: np.dtype[Any] = np.dtype("<f2")

    def list(self) -> None:
        """Take up the segments that were not there, or not known, before."""
        for name in segment_names(self._place, self._digest):
            if name not in self._known:
                found = self._read(name, self._like_others)
                self._known.add(name)
                if found is not None:
                    keys, feature, crc = found
                    self.add(name, keys, feature.row_items, feature.dtype, crc)

    def add(
        self, name: str, keys: Keys, dim: int, dtype: np.dtype[Any], crc: int | None = None
    ) -> None:
        """Take up a segment with (n, 16) keys; crc: its own, None of one that was only written."""
        self._known.add(name)
        self.names.append(name)
        self._rows.append(len(keys))
        self._crcs.append(crc)
        keep = self._kept + len(keys) <= KEPT_KEYS
        self._kept += len(keys) if keep else 0
        self._keys.append(keys.copy() if keep else None)  # of a view only these rows
        self.dim, self.dtype = dim, dtype

    def features(self, number: int, rows: NDArray[np.int32], keys: Keys) -> Features | None:
        """Return the features of some rows of a segment; None when it is lost, and its keys too.

        keys: (n, 16), of these rows as they were looked up.
        """

        def take(shard: Shard) -> Features:
            if self._crcs[number] is None:  # never read yet, only written
                found, *_ = self._like_others(shard)
                if not (int(rows.max()) < len(found) and (found[rows] == keys).all()):
                    raise damaged(shard.name, "not the segment that was written")
            self._require_same(number, shard)
            features: Features = shard.read(["feature"], rows)["feature"]
            return features

        spared = (self._rows[number] - len(rows)) * self.dim * self.dtype.itemsize
        found = self._read(self.names[number], take, whole=spared < SPARED_BYTES)
        if found is None:
            self._keys[number] = NO_KEYS
        return found

    def keys(self, number: int) -> Keys:
        """Return the keys of a segment, read again if they are not kept; none when it is lost."""

        def take(shard: Shard) -> Keys:
            keys, *_ = self._like_others(shard)
            self._require_same(number, shard)
            return keys

        kept = self._keys[number]
        if kept is None:
            found = self._read(self.names[number], take)
            if found is not None:
                return found
            kept = self._keys[number] = NO_KEYS
        return kept

    def _require_same(self, number: int, shard: Shard) -> None:
        """Raise DamagedShard when a segment is not the one that was read under its name before."""
        if self._crcs[number] is None:
            self._crcs[number] = shard.crc
        elif self._crcs[number] != shard.crc:
            raise damaged(shard.name, "another segment than was read before")

    def _like_others(self, shard: Shard) -> tuple[Keys, Column, int]:
        keys, feature = segment_columns(shard)
        if self.names and (feature.dtype, feature.row_items) != (self.dtype, self.dim):
            raise damaged(shard.name, "its features are unlike those of other segments")
        return keys, feature, shard.crc

    def _read(
        self, name: str, take: Callable[[Shard], Result], *, whole: bool = False
    ) -> Result | None:
        """Return what is taken of a segment, None when it is damaged or gone, which is a fault.

        No fault is one that was tidied away since it was listed.
        """
        path = f"{self._digest}/{name}"
        try:
            with closing(self._place.open(path, whole=whole)) as file:
                return take(Shard(file, self._place.url(path)))
        except (DamagedShard, UnknownVersion) as error:
            self._faults.append(str(error))
        except FileNotFoundError:
            if name in self._known:
                self._faults.append(f"{self._place.url(path)}: it is missing")
        return None


def segment_names(place: Place, folder: str = "") -> list[str]:
    """Return the names of the segments directly in a folder, sorted."""
    return [n for n in place.names(folder) if n.endswith(SUFFIX) and not n.startswith(".")]


def write_segment(
    place: Place, folder: str, columns: Mapping[str, NDArray[Any]]
) -> tuple[str, int]:
    """Write the columns key (n, 16) and feature (n, dim); return the segment's name and bytes."""
    data = encode_shard(columns)
    name = sha256(data)[:32] + SUFFIX
    place.write(folder + name, data)
    return name, len(data)


def segment_columns(shard: Shard) -> tuple[Keys, Column]:
    """Return a segment's keys and its feature column; raise DamagedShard when it has neither."""
    columns = shard.columns
    shapes = {name: len(column.shape) for name, column in columns.items()}
    if shapes != {"key": 1, "feature": 1} or columns["key"].shape != (KEY_BYTES,):
        raise damaged(shard.name, f"no segment: its columns are {', '.join(columns)}")
    return shard.read(["key"])["key"], columns["feature"]
