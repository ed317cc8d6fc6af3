"""The head of a shard: its fixed-width little-endian records, and how they are checked.

docs/cache-format.md describes the same bytes in words.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from fdbpl.system.errors import UserError

MAGIC = b"FDBPLSHD"
VERSION = 1

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


class DamagedShard(UserError):  # noqa: N818 - a state of the file
    """A shard whose bytes are not those that were written; the message names it."""


class UnknownVersion(UserError):  # noqa: N818 - a state of the file
    """A shard or manifest of a format version that this fdbpl does not know."""


@dataclass(frozen=True)
class Column:
    """One column as the head describes it, and where its pieces lie.

    stored (blocks, planes) bytes and crcs (blocks, planes) of the pieces; starts (blocks + 1) are
    the blocks' offsets in the shard, the last one the column's end.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    planes: int
    rows: int
    block_rows: int
    stored: NDArray[np.int64]
    crcs: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def row_items(self) -> int:
        """The number of items in one row."""
        return math.prod(self.shape)

    def rows_of(self, block: int) -> int:
        """Return the number of rows in `block`; only the last block may have fewer."""
        return min(self.block_rows, self.rows - block * self.block_rows)


@dataclass(frozen=True)
class Prefix:
    """The first record of a shard."""

    columns: int
    rows: int
    total_bytes: int
    head_bytes: int


@dataclass(frozen=True)
class Head:
    """All of a shard but its pieces. `crc` stands for the content: it covers every piece's crc."""

    rows: int
    total_bytes: int
    crc: int
    columns: dict[str, Column]


def pack_head(rows: int, columns: NDArray[np.void], pieces: NDArray[np.void]) -> bytes:
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


def parse_prefix(data: bytes, name: str) -> Prefix:
    """Check and return the first record. Raises DamagedShard or UnknownVersion naming `name`."""
    if len(data) != PREFIX.itemsize:
        raise damaged(name, f"{len(data)} bytes, too few for a shard's head")
    record = np.frombuffer(data, PREFIX)[0]
    if record["magic"] != MAGIC:
        raise damaged(name, f"begins with {data[:8]!r}, a shard begins with {MAGIC!r}")
    if crc32(data[: -CRC.itemsize]) != record["crc"]:
        raise damaged(name, "the checksum of its first 40 bytes is wrong")
    if record["version"] != VERSION:
        raise UnknownVersion(
            f"{name}: shard format version {record['version']}, this fdbpl reads {VERSION}: "
            "read it with the fdbpl that wrote it, or build the cache again"
        )
    return Prefix(*(int(record[field]) for field in Prefix.__dataclass_fields__))


def parse_head(prefix: Prefix, data: bytes, name: str) -> Head:
    """Check and return the head. `data` is what follows the prefix, `head_bytes` in all.

    Raises DamagedShard naming `name`.
    """
    body = data[: -CRC.itemsize]
    crc = crc32(body)
    if len(data) != prefix.head_bytes - PREFIX.itemsize or crc.to_bytes(4, "little") != data[-4:]:
        raise damaged(name, "the checksum of its head is wrong")
    table_bytes = prefix.columns * COLUMN.itemsize
    records = np.frombuffer(body[:table_bytes], COLUMN)
    pieces = np.frombuffer(body[table_bytes:], PIECE)
    counts = records["pieces"].astype(np.int64)
    ends = np.cumsum(counts)
    offsets = prefix.head_bytes + np.concatenate(
        [[0], np.cumsum(pieces["stored_bytes"], dtype=np.int64)]
    )
    if counts.sum() != len(pieces) or offsets[-1] != prefix.total_bytes:
        raise damaged(name, "its head contradicts itself")
    columns = {}
    for record, first, last in zip(records, ends - counts, ends, strict=True):
        column = _column(record, prefix.rows, pieces[first:last], offsets[first : last + 1], name)
        columns[column.name] = column
    return Head(prefix.rows, prefix.total_bytes, crc, columns)


def _column(
    record: Any, rows: int, pieces: NDArray[np.void], offsets: NDArray[np.int64], name: str
) -> Column:
    planes, block_rows = int(record["planes"]), int(record["block_rows"])
    code = record["dtype"].decode("ascii", "replace")
    ndim = int(record["ndim"])
    blocks = -(-rows // block_rows) if block_rows else -1
    if code not in DTYPES or ndim > MAX_DIMS or blocks * planes != len(pieces):
        raise damaged(name, "its head contradicts itself")
    dtype = np.dtype(code)
    if planes not in {1, dtype.itemsize}:
        raise damaged(name, "its head contradicts itself")
    return Column(
        name=record["name"].decode(),
        dtype=dtype,
        shape=tuple(int(n) for n in record["shape"][:ndim]),
        planes=planes,
        rows=rows,
        block_rows=block_rows,
        stored=pieces["stored_bytes"].astype(np.int64).reshape(blocks, planes),
        crcs=pieces["crc"].astype(np.int64).reshape(blocks, planes),
        starts=offsets[::planes],
    )


def damaged(name: str, what: str) -> DamagedShard:
    """Return the error for the shard `name`."""
    return DamagedShard(f"{name}: damaged shard: {what}; delete it and build the cache again")
