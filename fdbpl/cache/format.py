"""The format of a shard: numpy columns as checksummed, independently compressed blocks of rows.

A column is cut into blocks of rows; a block whose items are wider than a byte is split into byte
planes where that makes it smaller, since the high bytes of features repeat and their low bytes are
noise. Each plane of each block is a piece: one zstd frame, or its plain bytes when zstd gains
nothing. A reader takes any columns and any rows, and checks the crc of every piece it touches.
docs/cache-format.md describes every byte.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import repeat
from typing import Any, BinaryIO, cast

import numpy as np
import zstandard
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from fdbpl.cache.pieces import Plane, join, pieces_of, planes_that_pay, stretches, unpack
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256

MAGIC = b"FDBPLSHD"
VERSION = 1

# The head: one PREFIX, the COLUMN and PIECE records, and the CRC of these records.
PREFIX = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("columns", "<u4"),
        ("rows", "<u8"),
        ("total_bytes", "<u8"),  # of the whole shard
        ("head_bytes", "<u4"),  # of prefix, column and piece records and the head's checksum
        ("crc", "<u4"),  # of the 36 bytes before it
    ]
)
COLUMN = np.dtype(
    [
        ("name", "S36"),
        ("dtype", "S4"),
        ("shape", "<u4", (3,)),  # of one row; the first `ndim` numbers count, the rest are 0
        ("ndim", "u1"),
        ("planes", "u1"),  # 1: items stored as they are; itemsize: split into byte planes
        ("zero", "<u2"),
        ("block_rows", "<u4"),
        ("pieces", "<u4"),  # blocks x planes
    ]
)
PIECE = np.dtype([("stored_bytes", "<u4"), ("crc", "<u4")])
CRC = np.dtype("<u4")

DTYPES = frozenset(
    ("|b1", "|u1", "|i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8")
)
MAX_DIMS = 3
MAX_NAME_BYTES = 36

BLOCK_BYTES = 1 << 17
LEVEL = 1  # features hold no repeats: higher levels search longer and find nothing

Array = NDArray[Any]


class DamagedShard(UserError):  # noqa: N818 - a state of the file
    """A shard whose bytes are not those that were written; the message names it."""


class UnknownVersion(UserError):  # noqa: N818 - a state of the file
    """A shard or manifest of a format version that this fdbpl does not know."""


def damaged(name: str, what: str) -> DamagedShard:
    """Return the error for the shard `name`."""
    return DamagedShard(f"{name}: damaged shard: {what}; delete it and build the cache again")


@dataclass(frozen=True)
class Column:
    """One column as the head describes it, and where its pieces lie."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    planes: int
    rows: int
    block_rows: int
    stored: NDArray[np.int64]  # (blocks, planes) bytes of the pieces
    crcs: NDArray[np.int64]  # (blocks, planes)
    starts: NDArray[np.int64]  # (blocks + 1) offsets in the shard, the last the column's end

    @property
    def row_items(self) -> int:
        """The number of items in one row."""
        return math.prod(self.shape)

    @property
    def plane_bytes(self) -> int:
        """The number of bytes in each plane of a block, but of a shorter last one."""
        return self.block_rows * self.row_items * self.dtype.itemsize // self.planes

    def rows_of(self, block: int) -> int:
        """Return the number of rows in `block`; only the last block may have fewer."""
        return min(self.block_rows, self.rows - block * self.block_rows)


def encode_shard(columns: Mapping[str, Array], *, block_bytes: int = BLOCK_BYTES) -> bytes:
    """Return the shard's bytes; equal columns give equal bytes (with the same zstd).

    columns: name (1 to 36 bytes of UTF-8) to an array (rows, ...) with up to three dimensions
    after the first, of bool, integer or float items of at most 8 bytes; all have equal rows.
    block_bytes: size of a block before compression; a block holds at least one row.
    Raises ValueError for columns that a shard cannot hold.
    """
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"a shard's columns have equal rows, found {sorted(lengths)}")
    rows = lengths.pop()
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False)
    records = np.zeros(len(columns), COLUMN)
    pieces: list[tuple[int, int]] = []
    data: list[bytes] = []
    for record, (name, values) in zip(records, columns.items(), strict=True):
        array = _storable(name, values)
        row_bytes = max(1, array[:1].nbytes)
        block_rows = max(1, min(block_bytes // row_bytes, max(rows, 1)))
        blocks = [array[i : i + block_rows] for i in range(0, rows, block_rows)]
        planes = planes_that_pay(blocks[0], compressor) if blocks else 1
        frames = [frame for block in blocks for frame in pieces_of(block, planes, compressor)]
        record["name"] = name.encode()
        record["dtype"] = array.dtype.str.encode()
        record["shape"][: array.ndim - 1] = array.shape[1:]
        record["ndim"] = array.ndim - 1
        record["planes"] = planes
        record["block_rows"] = block_rows
        record["pieces"] = len(frames)
        pieces += [(len(frame), crc32(frame)) for frame in frames]
        data += frames
    return b"".join([_packed_head(rows, records, np.array(pieces, PIECE)), *data])


def _packed_head(rows: int, columns: NDArray[np.void], pieces: NDArray[np.void]) -> bytes:
    """Return the head's bytes for COLUMN[n] and PIECE[m] records."""
    body = columns.tobytes() + pieces.tobytes()
    prefix = np.zeros(1, PREFIX)
    prefix["magic"] = MAGIC
    prefix["version"] = VERSION
    prefix["columns"] = len(columns)
    prefix["rows"] = rows
    prefix["head_bytes"] = PREFIX.itemsize + len(body) + CRC.itemsize
    prefix["total_bytes"] = prefix["head_bytes"] + pieces["stored_bytes"].sum(dtype=np.uint64)
    prefix["crc"] = crc32(prefix.tobytes()[: -CRC.itemsize])
    return prefix.tobytes() + body + np.array(crc32(body), CRC).tobytes()


class Shard:
    """A shard open for reading; `rows` of each of its `columns`.

    source: the shard's bytes, or a binary file that can seek and read into memory; name: what
    errors call it. `crc` stands for the content: it covers every piece's crc.
    Raises DamagedShard when the head is damaged or the length is wrong, UnknownVersion when the
    format is another, and UserError here and later when the disk does not give the bytes.
    """

    def __init__(self, source: bytes | BinaryIO, name: str = "shard") -> None:
        self._source = source
        self.name = name
        with self._reading():
            size = len(source) if isinstance(source, bytes) else source.seek(0, io.SEEK_END)
        prefix = self._prefix(bytes(self._read(0, min(size, PREFIX.itemsize))))
        self.rows, self.total_bytes = int(prefix["rows"]), int(prefix["total_bytes"])
        if size != self.total_bytes:
            raise damaged(name, f"{size:,} bytes long, written with {self.total_bytes:,}")
        body = bytes(self._read(PREFIX.itemsize, int(prefix["head_bytes"]) - PREFIX.itemsize))
        self.crc = crc32(body[: -CRC.itemsize])
        if len(body) < CRC.itemsize or self.crc.to_bytes(4, "little") != body[-CRC.itemsize :]:
            raise damaged(name, "the checksum of its head is wrong")
        self.columns = self._columns(prefix, body[: -CRC.itemsize])

    def read(
        self, names: Sequence[str] | None = None, rows: Array | None = None
    ) -> dict[str, Array]:
        """Return the named columns, all when None, or of them only the row numbers `rows` (n,).

        rows: in any order, repeats allowed. Only the blocks that hold them are read; each is
        checked before it is decoded.
        Raises DamagedShard, KeyError for an unknown column, IndexError for a row out of range.
        """
        wanted = self.columns if names is None else names
        return {name: self._values(self.columns[name], rows) for name in wanted}

    def read_into(self, targets: Mapping[str, Array]) -> None:
        """Fill each C-contiguous array (rows, ...) with all rows of the column of its name.

        Spares the copy that joining shards would take. Raises as `read` does, and ValueError for
        an array of another type or shape.
        """
        for name, target in targets.items():
            column = self.columns[name]
            if (target.dtype, target.shape) != (column.dtype, (self.rows, *column.shape)):
                raise ValueError(f"column {name!r} does not fit {target.dtype} {target.shape}")
            self._decode(column, np.arange(len(column.stored)), target)

    def fill(self, name: str, rows: Array, targets: Sequence[Array]) -> Iterator[Array]:
        """Decode each of the row numbers (n,) right into its target, and yield that.

        For columns of single bytes whose blocks are single rows. rows: in any order, repeats
        allowed; those that follow one another are read together. targets: n C-contiguous uint8
        arrays of a row's shape.
        Raises as `read` does, and ValueError for other columns.
        """
        column = self.columns[name]
        if (column.block_rows, column.dtype.itemsize) != (1, 1):
            raise ValueError(f"column {name!r} has no bytes in blocks of single rows")
        self._require_rows(rows)
        decoded = self._planes(column, rows, ([one.reshape(-1)] for one in targets))
        for target, [plane] in zip(targets, decoded, strict=True):
            if not np.may_share_memory(plane, target):  # stored as it is
                target[...] = plane.reshape(column.shape)
            yield target

    def on(self, source: bytes | BinaryIO) -> "Shard":
        """Return this shard on another source, of which no head is read; its pieces are checked."""
        again = copy(self)
        again._source = source
        return again

    def in_memory(self) -> "Shard":
        """Return this shard with all of its bytes in memory."""
        return self.on(bytes(self._read(0, self.total_bytes)))

    def require_sha256(self, digest: str) -> None:
        """Raise DamagedShard when the SHA-256 of all bytes does not begin with `digest`."""
        found = sha256(self._read(0, self.total_bytes))
        if not found.startswith(digest):
            raise damaged(self.name, f"its SHA-256 is {found}, wanted {digest}")

    def _prefix(self, data: bytes) -> np.void:
        """Check and return the first record."""
        if len(data) != PREFIX.itemsize:
            raise damaged(self.name, f"{len(data)} bytes, too few for a shard's head")
        record: np.void = np.frombuffer(data, PREFIX)[0]
        if record["magic"] != MAGIC:
            raise damaged(self.name, f"begins with {data[:8]!r}, a shard begins with {MAGIC!r}")
        if crc32(data[: -CRC.itemsize]) != record["crc"]:
            raise damaged(self.name, "the checksum of its first 40 bytes is wrong")
        if record["version"] != VERSION:
            raise UnknownVersion(
                f"{self.name}: shard format version {record['version']}, this fdbpl reads "
                f"{VERSION}: read it with the fdbpl that wrote it, or build the cache again"
            )
        return record

    def _columns(self, prefix: np.void, body: bytes) -> dict[str, Column]:
        """Check the records of columns and pieces against each other, and return the columns."""
        table_bytes = int(prefix["columns"]) * COLUMN.itemsize
        pieces = np.frombuffer(body[table_bytes:], PIECE)
        stored = pieces["stored_bytes"].astype(np.int64)
        starts = np.concatenate([[int(prefix["head_bytes"])], stored]).cumsum()
        columns: dict[str, Column] = {}
        first = 0
        for record in np.frombuffer(body[:table_bytes], COLUMN):
            code, ndim = record["dtype"].decode("ascii", "replace"), int(record["ndim"])
            planes, block_rows = int(record["planes"]), int(record["block_rows"])
            blocks = -(-self.rows // block_rows) if block_rows else -1
            last = first + int(record["pieces"])
            if not (
                code in DTYPES
                and ndim <= MAX_DIMS
                and planes in {1, np.dtype(code).itemsize}
                and blocks * planes == last - first
                and last <= len(pieces)
            ):
                raise damaged(self.name, "its head contradicts itself")
            name = record["name"].decode()
            columns[name] = Column(
                name=name,
                dtype=np.dtype(code),
                shape=tuple(record["shape"][:ndim].tolist()),
                planes=planes,
                rows=self.rows,
                block_rows=block_rows,
                stored=stored[first:last].reshape(blocks, planes),
                crcs=pieces["crc"][first:last].astype(np.int64).reshape(blocks, planes),
                starts=starts[first : last + 1 : planes],
            )
            first = last
        if first != len(pieces) or starts[-1] != prefix["total_bytes"]:
            raise damaged(self.name, "its head contradicts itself")
        return columns

    def _values(self, column: Column, rows: Array | None) -> Array:
        if rows is None:
            blocks, count = np.arange(len(column.stored)), self.rows
        else:
            self._require_rows(rows)
            blocks, place = np.unique(rows // column.block_rows, return_inverse=True)
            count = sum(map(column.rows_of, blocks.tolist()))
        values = np.empty((count, *column.shape), column.dtype)
        self._decode(column, blocks, values)
        if rows is None:
            return values
        taken: Array = values[place * column.block_rows + rows % column.block_rows]
        return taken

    def _require_rows(self, rows: Array) -> None:
        if rows.size and not 0 <= rows.min() <= rows.max() < self.rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of a shard of {self.rows} rows")

    def _decode(self, column: Column, blocks: NDArray[np.intp], values: Array) -> None:
        """Write the rows of ascending `blocks` into `values`, one after the other."""
        flat = values.reshape(-1).view(f"<u{column.dtype.itemsize}")
        done = 0
        # Into the same memory again and again: memory taken for each block and given back after it
        # may cost half as much as the decoding.
        into = [np.empty(column.plane_bytes, np.uint8) for _ in range(column.planes)]
        decoded = self._planes(column, blocks, repeat(into))
        for block, planes in zip(blocks.tolist(), decoded, strict=True):
            items = column.rows_of(block) * column.row_items
            join(planes, flat[done : done + items])
            done += items

    def _planes(
        self,
        column: Column,
        blocks: NDArray[np.integer[Any]],
        into: Iterator[list[Plane]],
    ) -> Iterator[list[Plane]]:
        """Yield the checked planes of each of `blocks`, where compressed decoded `into` memory.

        They are there until the next are.
        """
        decoder = zstandard.ZstdDecompressor()
        runs = list(stretches(blocks))
        longest = max((column.starts[end] - column.starts[first] for first, end in runs), default=0)
        buffer = memoryview(bytearray(0 if isinstance(self._source, bytes) else int(longest)))
        for first, end in runs:
            start = int(column.starts[first])
            stretch = self._read(start, int(column.starts[end]) - start, buffer)
            pieces = zip(
                column.stored[first:end].tolist(), column.crcs[first:end].tolist(), strict=True
            )
            offset = 0
            for block, (sizes, crcs) in enumerate(pieces, start=first):
                size = column.plane_bytes * column.rows_of(block) // column.block_rows
                planes = []
                for stored, crc, plane in zip(sizes, crcs, next(into), strict=True):
                    piece = stretch[offset : offset + stored]
                    offset += stored
                    if crc32(piece) != crc:
                        what = f"block {block} of column {column.name!r} fails its checksum"
                        raise damaged(self.name, what)
                    try:
                        planes.append(unpack(piece, plane[:size], decoder))
                    except zstandard.ZstdError as error:
                        raise damaged(self.name, str(error)) from error
                yield planes

    def _read(self, start: int, length: int, buffer: memoryview | None = None) -> memoryview:
        """Return `length` bytes of the shard: a view of its bytes, or read into `buffer`."""
        if isinstance(self._source, bytes):
            data = memoryview(self._source)[start : start + length]
        else:
            data = memoryview(bytearray(length) if buffer is None else buffer)[:length]
            with self._reading():
                self._source.seek(start)
                data = data[: cast("io.BufferedIOBase", self._source).readinto(data)]
        if len(data) != length:
            raise damaged(self.name, f"ends at byte {start + len(data):,}")
        return data

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Make a failure of the disk a UserError that names the file."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.name}: cannot be read ({error}); check the disk that holds it, then run "
                "again"
            ) from error


def _storable(name: str, values: Array) -> Array:
    """Return `values` little-endian and contiguous. Raises ValueError for what cannot be stored."""
    array = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    if array.dtype.str not in DTYPES:
        raise ValueError(f"column {name!r} holds {values.dtype}, a shard holds {sorted(DTYPES)}")
    if array.ndim - 1 > MAX_DIMS:
        raise ValueError(f"column {name!r} has {array.ndim} dimensions, at most {MAX_DIMS + 1}")
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES or name.endswith("\0"):
        raise ValueError(f"column name {name!r} has not 1 to {MAX_NAME_BYTES} bytes")
    return array
