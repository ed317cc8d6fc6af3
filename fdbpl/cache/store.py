"""The region store: every feature ever encoded, looked up by its key.

One folder for each digest of encoder and payload, holding `about.json` for people and segments:
shards with the columns key (n, 16) and feature (n, dim). A segment is named by its content, so two
writers never meet, and it is never changed; a damaged one counts as absent, and what it held is
encoded again.
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.codec import Shard, encode_shard
from fdbpl.cache.keys import KEY_BYTES, Keys, sortable
from fdbpl.cache.layout import Column, DamagedShard, UnknownVersion, damaged
from fdbpl.cache.place import Place
from fdbpl.files import readable_json, sha256

ABOUT = "about.json"
SUFFIX = ".segment"

Features = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


class RegionStore:
    """The store at `url`, any fsspec URL; one object serves one thread.

    What other writers add after a digest was first looked up is not seen by this object.
    """

    def __init__(self, url: str | Path) -> None:
        """Open the store, which need not exist. Raises UserError for an unusable URL."""
        self._place = Place(url)
        self._indices: dict[str, _Index] = {}
        self._faults: list[str] = []

    @property
    def faults(self) -> tuple[str, ...]:
        """One line for each segment found damaged so far; its features count as absent."""
        return tuple(self._faults)

    def contains(self, digest: str, keys: Keys) -> Mask:
        """Tell for each of (n, 16) keys whether its feature is stored."""
        return self._index(digest).search(keys)[0]

    def find(self, digest: str, keys: Keys) -> tuple[Mask, Features]:
        """Return found (n,) and features (n, dim) in the order of (n, 16) keys, repeats allowed.

        digest: hexadecimal, of encoder and payload. Rows not found are zero; dim is 0 while
        nothing is stored under the digest.
        """
        while True:
            index = self._index(digest)
            found, segments, rows = index.search(keys)
            features = np.zeros((len(keys), index.dim), index.dtype)
            try:
                for here in _groups(np.flatnonzero(found), segments):
                    name = index.names[segments[here[0]]]
                    features[here] = self._features(digest, name, rows[here])
            except _LostSegmentError as lost:
                index.drop(lost.name)  # and look again: another segment may hold the same keys
            else:
                return found, features

    def add(self, digest: str, fields: Mapping[str, Any], keys: Keys, features: Features) -> None:
        """Store features (n, dim) under (n, 16) keys as one more segment.

        fields: what `digest` stands for, kept beside the segments for people to read.
        Raises UserError when the store cannot be written; nothing half-written is then found.
        """
        data = encode_shard({"key": keys, "feature": features})
        name = sha256(data)[:32] + SUFFIX
        if not self._place.exists(f"{digest}/{ABOUT}"):
            self._place.write(f"{digest}/{ABOUT}", readable_json(dict(fields)))
        index = self._index(digest)
        self._place.write(f"{digest}/{name}", data)
        index.add(name, keys, features.shape[1], features.dtype)

    def _index(self, digest: str) -> "_Index":
        if digest not in self._indices:
            index = _Index()
            for name in self._place.names(digest):
                if name.endswith(SUFFIX) and not name.startswith("."):
                    self._load(digest, name, index)
            self._indices[digest] = index
        return self._indices[digest]

    def _load(self, digest: str, name: str, index: "_Index") -> None:
        """Add a segment's keys to the index, or its fault to the list."""
        path = f"{digest}/{name}"
        try:
            with closing(self._place.open(path, whole=False)) as file:
                shard = Shard(file, self._place.url(path))
                keys, feature = _segment_columns(shard)
                if index.names and (feature.dtype, feature.row_items) != (index.dtype, index.dim):
                    raise damaged(shard.name, "its features are unlike those of other segments")
        except (DamagedShard, UnknownVersion) as error:
            self._faults.append(str(error))
        except FileNotFoundError:
            return  # tidied away since it was listed
        else:
            index.add(name, keys, feature.row_items, feature.dtype)

    def _features(self, digest: str, name: str, rows: NDArray[np.int64]) -> Features:
        path = f"{digest}/{name}"
        try:
            with closing(self._place.open(path, whole=True)) as file:
                return Shard(file, self._place.url(path)).read(["feature"], rows)["feature"]
        except (DamagedShard, UnknownVersion, FileNotFoundError) as error:
            self._faults.append(str(error))
            raise _LostSegmentError(name) from error


def _groups(places: Places, segments: NDArray[np.int64]) -> list[Places]:
    """Return `places` split by the segment they lie in; none for no places."""
    ordered = places[np.argsort(segments[places], kind="stable")]
    return np.split(ordered, np.flatnonzero(np.diff(segments[ordered])) + 1) if len(places) else []


def _segment_columns(shard: Shard) -> tuple[Keys, Column]:
    """Return a segment's keys and its feature column; raise DamagedShard when it has neither."""
    columns = shard.head.columns
    shapes = {name: len(column.shape) for name, column in columns.items()}
    if shapes != {"key": 1, "feature": 1} or columns["key"].shape != (KEY_BYTES,):
        raise damaged(shard.name, f"no segment: its columns are {', '.join(columns)}")
    return shard.read(["key"])["key"], columns["feature"]


class _LostSegmentError(Exception):
    """A segment that was whole, or there, when its keys were read."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Index:
    """Where the features of one digest lie: sorted keys, and each one's segment and row."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.dim = 0
        self.dtype: np.dtype[Any] = np.dtype("<f2")
        self._keys: list[Keys] = []
        self._sorted: tuple[NDArray[np.bytes_], NDArray[np.int64], NDArray[np.int64]] | None = None

    def add(self, name: str, keys: Keys, dim: int, dtype: np.dtype[Any]) -> None:
        """Take up a segment with (n, 16) keys."""
        self.names.append(name)
        self._keys.append(keys)
        self.dim, self.dtype = dim, dtype
        self._sorted = None

    def drop(self, name: str) -> None:
        """Forget a segment's keys."""
        for number, other in enumerate(self.names):
            if other == name:
                self._keys[number] = self._keys[number][:0]
        self._sorted = None

    def search(self, keys: Keys) -> tuple[Mask, NDArray[np.int64], NDArray[np.int64]]:
        """Return found (n,), segment (n,) and row (n,) of (n, 16) keys; 0 where not found."""
        ordered, segments, rows = self._tables()
        if not len(ordered):
            nowhere = np.zeros(len(keys), np.int64)
            return nowhere.astype(bool), nowhere, nowhere
        wanted = sortable(keys)
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        found = ordered[place] == wanted
        return found, np.where(found, segments[place], 0), np.where(found, rows[place], 0)

    def _tables(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64], NDArray[np.int64]]:
        if self._sorted is None:
            counts = [len(keys) for keys in self._keys]
            keys = sortable(np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *self._keys]))
            segments = np.repeat(np.arange(len(counts)), counts)
            rows = np.concatenate([np.empty(0, np.int64), *map(np.arange, counts)])
            order = np.argsort(keys, kind="stable")  # of equal keys the first segment's comes first
            self._sorted = keys[order], segments[order], rows[order]
        return self._sorted
