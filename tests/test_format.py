import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fdbpl.cache.format import (
    CRC,
    DTYPES,
    PREFIX,
    DamagedShard,
    Shard,
    UnknownVersion,
    encode_shard,
)
from fdbpl.system.errors import UserError


@st.composite
def tables(draw) -> dict[str, np.ndarray]:
    rows = draw(st.integers(0, 40))
    columns = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=9), max_size=4, unique=True)):
        if name.endswith("\0"):
            continue
        shape = draw(st.lists(st.integers(0, 5), max_size=3).map(tuple))
        dtype = draw(st.sampled_from(sorted(DTYPES)))
        columns[name] = draw(hnp.arrays(dtype, (rows, *shape)))
    return columns or {"empty": np.zeros((rows, 2), "<f2")}


def features(rows: int, dim: int, dtype: str = "<f2", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(dtype)


def sample_shard(block_bytes: int = 512) -> tuple[dict[str, np.ndarray], bytes]:
    generator = np.random.default_rng(1)
    columns = {
        "key": generator.integers(0, 256, (30, 16), np.uint8),
        "image": np.arange(30, dtype=np.uint32) // 4,
        "box": generator.integers(0, 500, (30, 4), np.int32),
        "flip": generator.integers(0, 2, 30, np.uint8),
        "feature": features(30, 24),
    }
    return columns, encode_shard(columns, block_bytes=block_bytes)


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert found[name].dtype.str == values.dtype.newbyteorder("<").str
        assert found[name].shape == values.shape
        assert found[name].tobytes() == values.astype(found[name].dtype).tobytes()


@settings(max_examples=150, deadline=None)
@given(columns=tables(), block_bytes=st.integers(1, 300))
def test_round_trip_of_every_dtype_and_shape(columns, block_bytes) -> None:
    data = encode_shard(columns, block_bytes=block_bytes)
    assert data == encode_shard(columns, block_bytes=block_bytes)
    assert_same(Shard(data).read(), columns)
    assert_same(Shard(io.BytesIO(data)).read(), columns)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), block_bytes=st.integers(1, 3000))
def test_any_rows_of_any_columns(data, block_bytes) -> None:
    columns, _ = sample_shard()
    shard = Shard(io.BytesIO(encode_shard(columns, block_bytes=block_bytes)))
    names = data.draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, unique=True))
    rows = data.draw(
        st.one_of(
            st.none(), st.lists(st.integers(0, 29)).map(lambda chosen: np.array(chosen, np.int64))
        )
    )
    wanted = {name: columns[name] if rows is None else columns[name][rows] for name in names}
    assert_same(shard.read(names, rows), wanted)


def test_reading_some_rows_touches_only_their_blocks() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def readinto(self, buffer) -> int:
            self.taken += len(buffer)
            return super().readinto(buffer)

    file = Counting(encode_shard({"feature": features(4096, 64)}, block_bytes=4096))
    shard = Shard(file)
    head = file.taken
    shard.read(rows=np.array([5, 4000]))
    assert 0 < file.taken - head <= 2 * 4096


def test_columns_are_read_into_arrays_that_fit() -> None:
    columns, data = sample_shard()
    target = np.zeros((50, 24), "<f2")
    Shard(data).read_into({"feature": target[10:40]})
    assert (target[10:40] == columns["feature"]).all()
    assert not target[:10].any()
    assert not target[40:].any()
    for wrong in (np.zeros((30, 24), "<f4"), np.zeros((31, 24), "<f2")):
        with pytest.raises(ValueError, match="does not fit"):
            Shard(data).read_into({"feature": wrong})


def test_rows_out_of_range_are_refused() -> None:
    shard = Shard(sample_shard()[1])
    for rows in (np.array([30]), np.array([-1])):
        with pytest.raises(IndexError):
            shard.read(["flip"], rows)


def test_features_shrink_and_keys_cost_nothing() -> None:
    # 1,000,000 bytes of fp16 features: about 1.18 times smaller; hashes cannot shrink.
    values = features(2000, 250)
    assert values.nbytes / len(encode_shard({"feature": values})) > 1.17
    keys = np.random.default_rng(0).integers(0, 256, (5000, 16), np.uint8)
    assert len(encode_shard({"key": keys})) < keys.nbytes + 200


@pytest.mark.parametrize("compressed", [False, True])
def test_every_flipped_bit_of_a_shard_is_found(compressed: bool) -> None:
    columns, data = sample_shard()
    bits = np.arange(len(data) * 8)
    if compressed:
        columns = {"feature": features(200, 256), "image": np.arange(200) // 8}
        data = encode_shard(columns)
        assert len(data) < 200 * 256 * 2
        bits = np.random.default_rng(2).integers(0, len(data) * 8, 2000)
    damaged = bytearray(data)
    for bit in bits.tolist():
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DamagedShard, UnknownVersion)):
            Shard(bytes(damaged)).read()
        damaged[bit // 8] ^= 1 << bit % 8
    assert_same(Shard(bytes(damaged)).read(), columns)


def test_every_truncation_and_every_excess_is_found() -> None:
    _, data = sample_shard()
    for size in range(len(data)):
        with pytest.raises(DamagedShard, match="delete it"):
            Shard(data[:size]).read()
    with pytest.raises(DamagedShard, match="bytes long"):
        Shard(data + b"\0").read()


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_foreign_bytes_are_damage_and_nothing_else(data) -> None:
    with pytest.raises(DamagedShard, match="some/name"):
        Shard(data, "some/name").read()


class FailingDisk(io.BytesIO):
    """A file of which the disk gives some reads, and no more."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self.reads = reads

    def readinto(self, buffer) -> int:
        self.reads -= 1
        if self.reads < 0:
            raise OSError(5, "Input/output error")
        return super().readinto(buffer)


def test_a_disk_that_fails_at_any_read_is_told_naming_the_file() -> None:
    columns, data = sample_shard()
    for reads in range(2 + len(columns)):  # the prefix, the head, then a stretch a column
        with pytest.raises(UserError, match=r"^some/name: cannot be read .*error") as told:
            Shard(FailingDisk(data, reads), "some/name").read()
        assert not isinstance(told.value, DamagedShard)
    assert_same(Shard(FailingDisk(data, reads + 1), "some/name").read(), columns)


def test_damage_in_one_block_leaves_the_others_readable() -> None:
    columns, data = sample_shard()
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    shard = Shard(damaged, "x.shard")
    assert_same(shard.read(["key"]), {"key": columns["key"]})
    assert_same(shard.read(rows=np.arange(10)), {n: v[:10] for n, v in columns.items()})
    with pytest.raises(DamagedShard, match=r"x\.shard.*column 'feature'"):
        shard.read()


def test_an_unknown_version_is_refused_clearly() -> None:
    _, data = sample_shard()
    prefix = np.frombuffer(data[: PREFIX.itemsize], PREFIX).copy()
    prefix["version"] = 7
    prefix["crc"] = zlib.crc32(prefix.tobytes()[: -CRC.itemsize])
    with pytest.raises(UnknownVersion, match="version 7, this fdbpl reads 1"):
        Shard(prefix.tobytes() + data[PREFIX.itemsize :]).read()


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"a": np.zeros(3), "b": np.zeros(4)},
        {"a": np.zeros(3, complex)},
        {"a": np.array(["x"])},
        {"a": np.zeros((1, 1, 1, 1, 1))},
        {"": np.zeros(1)},
        {"a" * 37: np.zeros(1)},
        {"a\0": np.zeros(1)},
    ],
)
def test_what_a_shard_cannot_hold_is_refused(columns) -> None:
    with pytest.raises(ValueError, match="column"):
        encode_shard(columns)


def test_big_endian_and_strided_arrays_are_stored_little_endian() -> None:
    values = np.arange(24, dtype=">f4").reshape(6, 4)[::2, 1:]
    found = Shard(encode_shard({"a": values})).read()["a"]
    assert found.dtype.str == "<f4"
    assert (found == values).all()


def test_the_format_does_not_drift() -> None:
    """Raw pieces only, so that the bytes do not depend on the version of zstd."""
    data = encode_shard({"a": np.array([[1, 2], [3, 250]], np.uint8)})
    assert data.hex() == (
        "464442504c534844010000000100000002000000000000007800000000000000740000004ec2d2b3"
        "6100000000000000000000000000000000000000000000000000000000000000000000007c753100"
        "02000000000000000000000001010000020000000100000004000000d62439ec2b7623bf010203fa"
    )
