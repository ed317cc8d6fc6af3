"""The shard: numpy columns as checksummed, independently compressed blocks of rows.

A column is cut into blocks of rows; a block whose items are wider than a byte is split into byte
planes where that makes it smaller, since the high bytes of features repeat and their low bytes are
noise. Each plane of each block is a piece: one zstd frame, or its plain bytes when zstd gains
nothing. A reader takes any columns and any rows, and checks the crc of every piece it touches.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np
import zstandard
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from fdbpl.cache.layout import (
    COLUMN,
    DTYPES,
    MAX_DIMS,
    MAX_NAME_BYTES,
    PIECE,
    PREFIX,
    Column,
    Head,
    damaged,
    pack_head,
    parse_head,
    parse_prefix,
)
from fdbpl.system.errors import UserError

BLOCK_BYTES = 1 << 17
STRETCH = 16  # blocks fetched by one read: 2 MiB stay in the processor's cache while decoded
LEVEL = 1  # features hold no repeats: higher levels search longer and find nothing
LEAST_GAIN = 32  # a frame is kept when it saves at least 1/32; less does not pay for its decoding

Array = NDArray[Any]


def encode_shard(columns: Mapping[str, Array], *, block_bytes: int = BLOCK_BYTES) -> bytes:
    """Return the shard's bytes; equal columns give equal bytes (with the same zstd).

    columns: name (1 to 36 bytes of UTF-8) to an array (rows, ...) with up to three dimensions
    after the first, of bool, integer or float items of at most 8 bytes; all have equal rows.
    block_bytes: size of a block before compression; a block holds at least one row.
    Raises ValueError for columns that a shard cannot hold.
    """
    rows = _common_rows(columns)
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False)
    records = np.zeros(len(columns), COLUMN)
    pieces: list[tuple[int, int]] = []
    data: list[bytes] = []
    for record, (name, values) in zip(records, columns.items(), strict=True):
        array = _storable(name, values)
        row_bytes = max(1, array[:1].nbytes)
        block_rows = max(1, min(block_bytes // row_bytes, max(rows, 1)))
        blocks = [array[i : i + block_rows] for i in range(0, rows, block_rows)]
        planes = _planes_that_pay(blocks[0], compressor) if blocks else 1
        frames = [frame for block in blocks for frame in _pieces(block, planes, compressor)]
        record["name"] = name.encode()
        record["dtype"] = array.dtype.str.encode()
        record["shape"][: array.ndim - 1] = array.shape[1:]
        record["ndim"] = array.ndim - 1
        record["planes"] = planes
        record["block_rows"] = block_rows
        record["pieces"] = len(frames)
        pieces += [(len(frame), crc32(frame)) for frame in frames]
        data += frames
    return b"".join([pack_head(rows, records, np.array(pieces, PIECE)), *data])


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Make a UserError that names the file `name` of a failure to read on in it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{name}: cannot be read ({error}); check the disk that holds it, then run again"
        ) from error


class Shard:
    """A shard open for reading.

    source: the shard's bytes, or a binary file that can seek and read into memory; name: what
    errors call it.
    Raises DamagedShard when the head is damaged or the length is wrong, UnknownVersion when the
    format is another, and UserError here and later when the disk does not give the bytes.
    """

    def __init__(self, source: bytes | BinaryIO, name: str = "shard") -> None:
        self._source = source
        self.name = name
        with reading(name):
            size = len(source) if isinstance(source, bytes) else source.seek(0, io.SEEK_END)
        prefix = parse_prefix(bytes(self._read(0, min(size, PREFIX.itemsize))), name)
        if size != prefix.total_bytes:
            raise damaged(name, f"{size:,} bytes long, written with {prefix.total_bytes:,}")
        after = prefix.head_bytes - PREFIX.itemsize
        self.head: Head = parse_head(prefix, bytes(self._read(PREFIX.itemsize, after)), name)

    @property
    def rows(self) -> int:
        """The number of rows of every column."""
        return self.head.rows

    def read(
        self, names: Sequence[str] | None = None, rows: slice | Array | None = None
    ) -> dict[str, Array]:
        """Return the named columns (all when None), restricted to `rows` (all when None).

        rows: a slice of step 1, or integer row numbers in any order, repeats allowed.
        Only the blocks that hold these rows are read; each is checked before it is decoded.
        Raises DamagedShard, KeyError for an unknown column, IndexError for a row out of range.
        """
        wanted = self.head.columns if names is None else names
        return {name: self._column(self.head.columns[name], rows) for name in wanted}

    def read_into(self, targets: Mapping[str, Array]) -> None:
        """Fill each C-contiguous array (rows, ...) with all rows of the column of its name.

        Spares the copy that joining shards would take. Raises as `read` does, and ValueError for
        an array of another type or shape.
        """
        for name, target in targets.items():
            column = self.head.columns[name]
            if (target.dtype, target.shape) != (column.dtype, (self.rows, *column.shape)):
                raise ValueError(f"column {name!r} does not fit {target.dtype} {target.shape}")
            self._decode(column, np.arange(len(column.stored)), target)

    def _column(self, column: Column, rows: slice | Array | None) -> Array:
        if not isinstance(rows, np.ndarray):
            start, stop, step = (rows or slice(None)).indices(self.rows)
            if step != 1:
                raise IndexError(f"rows are taken by slices of step 1, not {step}")
            stop = max(start, stop)
            first, last = start // column.block_rows, -(-stop // column.block_rows)
            values = self._blocks(column, np.arange(first, last))
            offset = first * column.block_rows
            return values[start - offset : stop - offset]
        if rows.size and not 0 <= rows.min() <= rows.max() < self.rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of a shard of {self.rows} rows")
        blocks, place = np.unique(rows // column.block_rows, return_inverse=True)
        values = self._blocks(column, blocks)
        taken: Array = values[place * column.block_rows + rows % column.block_rows]
        return taken

    def _blocks(self, column: Column, blocks: NDArray[np.intp]) -> Array:
        """Return the rows of ascending `blocks`, one after the other."""
        count = sum(column.rows_of(block) for block in blocks.tolist())
        values = np.empty((count, *column.shape), column.dtype)
        self._decode(column, blocks, values)
        return values

    def _decode(self, column: Column, blocks: NDArray[np.intp], values: Array) -> None:
        """Write the rows of ascending `blocks` into `values`, one after the other."""
        flat = values.reshape(-1).view(f"<u{column.dtype.itemsize}")
        decoder = zstandard.ZstdDecompressor()
        runs = list(_runs(blocks))
        longest = max(
            (int(column.starts[last] - column.starts[first]) for first, last in runs), default=0
        )
        buffer = memoryview(bytearray(0 if isinstance(self._source, bytes) else longest))
        done = 0
        for first, last in runs:
            start = int(column.starts[first])
            stretch = self._read(start, int(column.starts[last]) - start, buffer)
            pieces = zip(
                column.stored[first:last].tolist(), column.crcs[first:last].tolist(), strict=True
            )
            offset = 0
            for block, (sizes, crcs) in enumerate(pieces, start=first):
                items = column.rows_of(block) * column.row_items
                size = items * column.dtype.itemsize // column.planes
                planes = []
                for stored, crc in zip(sizes, crcs, strict=True):
                    piece = stretch[offset : offset + stored]
                    offset += stored
                    if crc32(piece) != crc:
                        what = f"block {block} of column {column.name!r} fails its checksum"
                        raise damaged(self.name, what)
                    raw = piece if stored == size else self._decompressed(piece, size, decoder)
                    planes.append(np.frombuffer(raw, np.uint8))
                _join(planes, flat[done : done + items])
                done += items

    def _decompressed(self, piece: memoryview, size: int, decoder: Any) -> bytes:
        try:
            if zstandard.frame_content_size(piece) == size:
                content: bytes = decoder.decompress(piece)
                return content
        except zstandard.ZstdError as error:
            raise damaged(self.name, str(error)) from error
        raise damaged(self.name, f"a zstd frame does not hold {size:,} bytes")

    def _read(self, start: int, length: int, buffer: memoryview | None = None) -> memoryview:
        """Return `length` bytes of the shard: a view of its bytes, or read into `buffer`."""
        if isinstance(self._source, bytes):
            data = memoryview(self._source)[start : start + length]
        else:
            data = memoryview(bytearray(length) if buffer is None else buffer)[:length]
            with reading(self.name):
                self._source.seek(start)
                data = data[: cast("io.BufferedIOBase", self._source).readinto(data)]
        if len(data) != length:
            raise damaged(self.name, f"ends at byte {start + len(data):,}")
        return data


def _common_rows(columns: Mapping[str, Array]) -> int:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"a shard's columns have equal rows, found {sorted(lengths)}")
    return lengths.pop()


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


def _planes_that_pay(block: Array, compressor: Any) -> int:
    """Return the number of byte planes, 1 or the item size, in which `block` is smaller."""
    width = int(block.itemsize)
    if width == 1:
        return 1
    plain, split = (sum(map(len, _pieces(block, planes, compressor))) for planes in (1, width))
    return width if split < plain else 1


def _pieces(block: Array, planes: int, compressor: Any) -> Iterator[bytes]:
    items = block.reshape(-1).view(f"<u{block.itemsize}")
    for plane in range(planes):
        raw = _plane(items, plane).tobytes() if planes > 1 else items.tobytes()
        frame: bytes = compressor.compress(raw)
        yield frame if len(frame) <= len(raw) - len(raw) // LEAST_GAIN - 1 else raw


def _plane(items: Array, plane: int) -> NDArray[np.uint8]:
    """Return byte `plane` of each of the unsigned integers."""
    return (items >> (8 * plane) if plane else items).astype(np.uint8)


def _join(planes: Sequence[NDArray[np.uint8]], items: Array) -> None:
    """Write the items whose byte planes, lowest first, are `planes` into the integers `items`.

    Shifts of whole integers run over whole vectors, which a copy of every second byte does not;
    the first shift widens the highest plane on its way.
    """
    if len(planes) == 1:
        items.view(np.uint8)[...] = planes[0]
        return
    np.left_shift(planes[-1], 8, out=items, dtype=items.dtype)
    for plane in planes[-2:0:-1]:
        np.bitwise_or(items, plane, out=items)
        np.left_shift(items, 8, out=items)
    np.bitwise_or(items, planes[0], out=items)


def _runs(blocks: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of stretches of consecutive numbers, STRETCH at most."""
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1):
        for i in range(0, run.size, STRETCH):
            stretch = run[i : i + STRETCH]
            yield int(stretch[0]), int(stretch[-1]) + 1
