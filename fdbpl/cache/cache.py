"""One dataset's cache: a manifest and its shards in a folder, written and opened."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache import manifest as manifests
from fdbpl.cache.format import (
    BLOCK_BYTES,
    DamagedShard,
    Shard,
    UnknownVersion,
    damaged,
    encode_shard,
)
from fdbpl.cache.manifest import (
    ColumnEntry,
    DamagedManifest,
    Identity,
    Manifest,
    ShardEntry,
    Table,
)
from fdbpl.cache.payload import COLUMNS, decode
from fdbpl.cache.place import Place
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256

SUFFIX = ".shard"
Array = NDArray[Any]
Rows = NDArray[np.integer[Any]]


class CacheWriter:
    """Writes a cache shard by shard; it exists for readers once `finish` has written its manifest.

    Shards are named by their content, so that a cache at the same URL stays whole until then.
    """

    def __init__(self, url: str | Path, identity: Identity) -> None:
        """Begin a cache at any fsspec URL. Raises UserError for an unusable one."""
        self._place = Place(url)
        self._identity = identity
        self._columns: dict[str, dict[str, ColumnEntry]] = {}
        self._shards: dict[str, list[ShardEntry]] = {}

    def add(
        self, table: str, columns: Mapping[str, Array], *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        """Write the table's next rows, in blocks of so many bytes before compression.

        Raises ValueError when its columns changed.
        """
        data = encode_shard(columns, block_bytes=block_bytes)
        self._place.write(self._counted(table, Shard(data), data), data)

    def add_again(self, table: str, known: Mapping[str, Array]) -> bool:
        """Take up the table's next shard, if one that is whole lies here and has these columns.

        An interrupted build left it, or the cache before. known: the columns that decide all its
        others; equal ones make it the shard that `add` would write.
        """
        start = _shard_start(table, len(self._shards.get(table, [])))
        for name in self._place.names():
            if name.startswith(start) and name.endswith(SUFFIX):
                try:
                    data = self._place.read(name)
                    shard = Shard(data, self._place.url(name))
                    shard.require_sha256(name[len(start) : -len(SUFFIX)])
                    held = shard.read([one for one in known if one in shard.columns])
                except (DamagedShard, UnknownVersion, FileNotFoundError):
                    continue  # it is written anew
                same = (np.array_equal(values, known[one]) for one, values in held.items())
                if len(held) == len(known) and all(same):
                    return self._counted(table, shard, data) == name
        return False

    def _counted(self, table: str, shard: Shard, data: bytes) -> str:
        """Count the shard as the table's next, and return its name."""
        entries = _column_entries(shard)
        if self._columns.setdefault(table, entries) != entries:
            raise ValueError(f"table {table!r} has columns {self._columns[table]}, not {entries}")
        digest = sha256(data)
        shards = self._shards.setdefault(table, [])
        name = f"{_shard_start(table, len(shards))}{digest[:16]}{SUFFIX}"
        shards.append(
            ShardEntry(
                name=name, rows=shard.rows, bytes=len(data), head_crc=shard.crc, sha256=digest
            )
        )
        return name

    def finish(self) -> Manifest:
        """Write the manifest, which makes the cache valid, then remove what it replaces.

        Builds at once need no lock: of several, the last manifest stands. Each build looks after
        its last change whether what then stands is whole, so that a shard which one names and
        another removes is told by whichever came later.
        Raises UserError when another build at this URL left shards missing.
        """
        manifest = Manifest(
            identity=self._identity,
            tables={
                table: Table(
                    rows=sum(shard.rows for shard in shards),
                    columns=self._columns[table],
                    shards=tuple(shards),
                )
                for table, shards in self._shards.items()
            },
        )
        named, replaced = _shard_names(manifest), self._standing()
        self._require(named)
        self._place.write(manifests.NAME, manifests.render(manifest))
        self._tidy(replaced, named | self._standing())
        self._require(self._standing())
        return manifest

    def _standing(self) -> set[str]:
        """Return the shards that the manifest here names, none when there is no whole one."""
        name = manifests.NAME
        try:
            return _shard_names(manifests.parse(self._place.read(name), self._place.url(name)))
        except (FileNotFoundError, DamagedManifest, UnknownVersion):
            return set()

    def _require(self, named: set[str]) -> None:
        missing = sorted(named.difference(self._place.names()))
        if missing:
            raise UserError(
                f"{self._place.url(missing[0])}: another build wrote to this cache at the same "
                "time and removed this shard; wanted one build at a time: run again"
            )

    def _tidy(self, replaced: set[str], kept: set[str]) -> None:
        """Remove the shards of the cache before, and what interrupted builds left behind.

        What another build has written and not named yet stays: it is young. So does a file that
        is still being written, unless it becomes one that is here already. A build of more than a
        day may lose shards to another one, and says so.
        """
        here = {manifests.NAME, *kept}
        for name in self._place.names():
            becomes = name[1:].rpartition(".")[0] if name.startswith(".") else name
            ours = SUFFIX in name or manifests.NAME in name
            if name in here or not ours:
                continue
            if name in replaced or becomes in here or self._place.is_left(name):
                self._place.remove(name)


def _shard_start(table: str, number: int) -> str:
    """Return what a shard's name begins with, before its digest."""
    return f"{table.replace('/', '-')}-{number:05d}-"


def _shard_names(manifest: Manifest) -> set[str]:
    return {shard.name for table in manifest.tables.values() for shard in table.shards}


class Cache:
    """An open cache. Every read checks every block it decodes."""

    def __init__(self, place: Place, manifest: Manifest) -> None:
        self.manifest = manifest
        self._place = place
        self._heads: dict[str, Shard] = {}
        self._held: dict[str, Shard] = {}
        self._holding = Lock()

    @property
    def url(self) -> str:
        """Where it is."""
        return self._place.url()

    def column(self, table: str, name: str) -> Array:
        """Return one column of a table whole, in canonical order, as it is kept."""
        return self.columns(table, name)[name]

    def columns(self, table: str, *names: str, rows: Rows | None = None) -> dict[str, Array]:
        """Return the named columns of a table, all when none is named, as they are kept.

        rows: (n,), of these alone, in any order, repeats allowed. Each shard that holds some of
        them is opened once, and only their blocks are decoded.
        Raises KeyError for a table or column the cache has not, DamagedShard naming the shard,
        IndexError for a row out of range.
        """
        content = self.manifest.tables[table]
        if rows is not None and rows.size and not 0 <= rows.min() <= rows.max() < content.rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of a table of {content.rows} rows")
        entries = {name: content.columns[name] for name in names or content.columns}
        count = content.rows if rows is None else len(rows)
        found = {
            name: np.empty((count, *entry.shape), entry.dtype) for name, entry in entries.items()
        }
        order = np.argsort([] if rows is None else rows, kind="stable")
        start = 0
        for entry in content.shards:
            stop = start + entry.rows
            if rows is None:
                with self._opened(entry, content) as shard:
                    shard.read_into({name: values[start:stop] for name, values in found.items()})
            else:
                first, last = np.searchsorted(rows, [start, stop], sorter=order)
                here = order[first:last]
                if here.size:
                    with self._opened(entry, content) as shard:
                        taken = shard.read(list(found), rows[here] - start)
                    for name, values in taken.items():
                        found[name][here] = values
            start = stop
        return found

    def fill(
        self, table: str, name: str, rows: Rows, targets: Sequence[Array], *, hold: bool = False
    ) -> Iterator[Array]:
        """Decode a column's `rows` (n,), ascending, each into its target, and yield that.

        As `Shard.fill`; several threads may read at once. hold: keep in memory, compressed as they
        are, the shards that were read, not their heads alone.
        Raises what `columns` does, and ValueError for columns that `Shard.fill` does not take.
        """
        content = self.manifest.tables[table]
        if rows.size and not 0 <= rows[0] <= rows[-1] < content.rows:
            raise IndexError(f"rows {rows[0]} to {rows[-1]} of a table of {content.rows} rows")
        start = 0
        for entry in content.shards:
            stop = start + entry.rows
            first, last = np.searchsorted(rows, [start, stop])
            if first < last:
                here, into = rows[first:last] - start, targets[first:last]
                if hold:
                    yield from self._in_memory(entry, content).fill(name, here, into)
                else:
                    whole = 2 * len(here) > entry.rows  # else a remote one is fetched by parts
                    with self._opened_again(entry, content, whole=whole) as shard:
                        yield from shard.fill(name, here, into)
            start = stop

    def features(self, table: str, rows: Rows | None = None) -> Array:
        """Return the unit features (n, D) of "train" or "test", of `rows` alone as in `columns`.

        Raises UserError for a payload that this fdbpl does not read, and what `columns` raises.
        """
        payload = str(self.manifest.identity.payload.get("name"))
        if payload not in COLUMNS:
            raise UserError(
                f"{self._place.url(manifests.NAME)}: payload is {payload!r}, wanted one of "
                f"{', '.join(COLUMNS)}. Run cache-teacher again."
            )
        return decode(self.columns(table, *COLUMNS[payload], rows=rows))

    def text(self, name: str) -> Array:
        """Return the text array `name`, as it was given to build_cache.

        Raises UserError when the cache has none of this name, as one of an older fdbpl may.
        """
        if f"text/{name}" not in self.manifest.tables:
            raise UserError(
                f"{self._place.url(manifests.NAME)}: names no class vectors {name!r}. "
                "Run cache-teacher again."
            )
        return self.column(f"text/{name}", "values")

    def verify(self) -> list[str]:
        """Read all, check every SHA-256 and every block; return one line for each bad shard."""
        faults = []
        for content in self.manifest.tables.values():
            for entry in content.shards:
                try:
                    with self._opened(entry, content) as shard:
                        shard.read()
                        shard.require_sha256(entry.sha256)
                except (DamagedShard, UnknownVersion) as error:
                    faults.append(str(error))
        return faults

    @contextmanager
    def _opened(self, entry: ShardEntry, table: Table) -> Iterator[Shard]:
        """Open the shard when it is the one that the manifest names, else raise DamagedShard."""
        with self._file(entry, whole=True) as file:
            yield self._as_named(Shard(file, self._place.url(entry.name)), entry, table)

    @contextmanager
    def _opened_again(self, entry: ShardEntry, table: Table, *, whole: bool) -> Iterator[Shard]:
        """Open a shard as `_opened` does; its head is read once, and held."""
        with self._file(entry, whole=whole) as file:
            if entry.name not in self._heads:
                shard = Shard(file, self._place.url(entry.name))
                self._heads[entry.name] = self._as_named(shard, entry, table)
            yield self._heads[entry.name].on(file)

    def _in_memory(self, entry: ShardEntry, table: Table) -> Shard:
        """Return a shard as `_opened` does, all of it held from then on."""
        with self._holding:  # read by the first thread that wants it, once
            if entry.name not in self._held:
                with self._file(entry, whole=True) as file:
                    shard = Shard(file, self._place.url(entry.name)).in_memory()
                self._held[entry.name] = self._as_named(shard, entry, table)
            return self._held[entry.name]

    def _file(self, entry: ShardEntry, *, whole: bool) -> BinaryIO:
        try:
            return self._place.open(entry.name, whole=whole)
        except FileNotFoundError as error:
            raise damaged(self._place.url(entry.name), "it is missing") from error

    def _as_named(self, shard: Shard, entry: ShardEntry, table: Table) -> Shard:
        """Return the shard; raise DamagedShard when it is not the one that the manifest names."""
        found = shard.crc, shard.rows, _column_entries(shard)
        if found != (entry.head_crc, entry.rows, table.columns):
            raise damaged(shard.name, "whole, but not the one that the manifest names")
        return shard


def _column_entries(shard: Shard) -> dict[str, ColumnEntry]:
    return {
        name: ColumnEntry(dtype=column.dtype.str, shape=column.shape)
        for name, column in shard.columns.items()
    }


def open_cache(url: str | Path, expected: Mapping[str, Any] | None = None) -> Cache:
    """Open the cache at any fsspec URL; only its manifest is read.

    expected: fields of Identity that the cache must have, any subset at every level.
    Raises UserError when there is none, when it is damaged or of an unknown version, and when it
    is another's, naming the first field that differs, the value found and the value wanted.
    """
    place = Place(url)
    name = place.url(manifests.NAME)
    try:
        data = place.read(manifests.NAME)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{name}: no cache here; wanted a finished one: run cache-teacher for this dataset"
        ) from error
    manifest = manifests.parse(data, name)
    manifests.require_identity(manifest.identity, expected or {}, name)
    return Cache(place, manifest)
