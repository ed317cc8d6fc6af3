"""Pieces: any block comes back from its own, and from no others."""

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.cache.pieces import join, pieces_of, planes_that_pay, stretches, unpack

KINDS = ("|u1", "<u2", "<u4", "<u8")


def block_of(kind: str, count: int, seed: int, spread: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, spread, count).astype(kind)


@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(0, 400),
    seed=st.integers(0, 9),
    spread=st.sampled_from([1, 3, 200]),
    split=st.booleans(),
)
@settings(deadline=None)
def test_a_block_comes_back_from_its_pieces(kind, count, seed, spread, split) -> None:
    block = block_of(kind, count, seed, spread)
    planes = block.itemsize if split else 1
    decoder, size = zstandard.ZstdDecompressor(), block.nbytes // planes
    found = [
        unpack(memoryview(piece), np.empty(size, np.uint8), decoder)
        for piece in pieces_of(block, planes, zstandard.ZstdCompressor(1))
    ]
    again = np.empty_like(block)
    join(found, again)
    assert (again == block).all()


def test_wide_items_are_split_where_it_pays() -> None:
    compressor = zstandard.ZstdCompressor(1)
    assert planes_that_pay(block_of("<u4", 4000, 0, 200), compressor) == 4
    assert planes_that_pay(block_of("|u1", 4000, 0, 3), compressor) == 1


@pytest.mark.parametrize("size", [399, 401])
def test_a_piece_of_another_size_is_refused(size: int) -> None:
    [piece] = pieces_of(block_of("|u1", 400, 0, 3), 1, zstandard.ZstdCompressor(1))
    with pytest.raises(zstandard.ZstdError, match=f"does not hold {size} bytes"):
        unpack(memoryview(piece), np.empty(size, np.uint8), zstandard.ZstdDecompressor())


@given(blocks=st.lists(st.integers(0, 60), unique=True).map(sorted))
def test_stretches_cover_the_blocks_in_order(blocks: list[int]) -> None:
    found = list(stretches(np.array(blocks, np.intp)))
    assert [block for first, end in found for block in range(first, end)] == blocks
