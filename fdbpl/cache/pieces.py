"""Pieces: what a shard stores of the byte planes of a block, and how they become items again."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

STRETCH = 16  # blocks fetched by one read: 2 MiB stay in the processor's cache while decoded
LEAST_GAIN = 32  # a frame is kept when it saves at least 1/32; less does not pay for its decoding

Array = NDArray[Any]
Plane = NDArray[np.uint8]


def planes_that_pay(block: Array, compressor: Any) -> int:
    """Return the number of byte planes, 1 or the item size, in which `block` is smaller."""
    width = int(block.itemsize)
    if width == 1:
        return 1
    plain, split = (sum(map(len, pieces_of(block, planes, compressor))) for planes in (1, width))
    return width if split < plain else 1


def pieces_of(block: Array, planes: int, compressor: Any) -> Iterator[bytes]:
    """Yield the block's byte planes, lowest first, each compressed where that pays."""
    items = block.reshape(-1).view(f"<u{block.itemsize}")
    for plane in range(planes):
        raw = (items >> (8 * plane)).astype(np.uint8).tobytes() if planes > 1 else items.tobytes()
        frame: bytes = compressor.compress(raw)
        yield frame if len(frame) <= len(raw) - len(raw) // LEAST_GAIN - 1 else raw


def unpack(piece: memoryview, into: Plane, decoder: Any) -> Plane:
    """Return the plane (n,) that a piece holds: the piece itself, or decompressed `into` (n,).

    Raises zstandard.ZstdError when it holds no frame, or one of another size.
    """
    if len(piece) == len(into):
        return np.frombuffer(piece, np.uint8)
    is_whole = zstandard.frame_content_size(piece) == len(into)
    if is_whole and decoder.stream_reader(piece).readinto(into) == len(into):
        return into
    raise zstandard.ZstdError(f"a zstd frame does not hold {len(into):,} bytes")


def join(planes: Sequence[Plane], items: Array) -> None:
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


def stretches(blocks: NDArray[np.integer[Any]]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of stretches of consecutive numbers, STRETCH at most."""
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1):
        for i in range(0, run.size, STRETCH):
            stretch = run[i : i + STRETCH]
            yield int(stretch[0]), int(stretch[-1]) + 1
