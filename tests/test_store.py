from pathlib import Path

import numpy as np
import pytest

from fdbpl.cache.codec import encode_shard
from fdbpl.cache.keys import feature_digest
from fdbpl.cache.store import RegionStore

FIELDS = {"encoder": {"architecture": "tiny"}, "dtype": "<f2"}
DIGEST = feature_digest(FIELDS)


@pytest.fixture(params=["local", "memory"])
def url(request, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path}/store"


def some(count: int, seed: int = 0, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    keys = generator.integers(0, 256, (count, 16), np.uint8)
    keys[::3, -1] = 0  # keys may end in zeros
    return keys, generator.standard_normal((count, dim)).astype("<f2")


def segments(folder: Path) -> list[Path]:
    return sorted((folder / DIGEST).glob("*.segment"))


def test_what_is_added_is_found_in_any_order_and_more_than_once(url: str) -> None:
    keys, features = some(50)
    store = RegionStore(url)
    store.add(DIGEST, FIELDS, keys[:20], features[:20])
    store.add(DIGEST, FIELDS, keys[20:40], features[20:40])
    places = np.random.default_rng(1).integers(0, 50, 200)
    for reader in (store, RegionStore(url)):
        found, rows = reader.find(DIGEST, keys[places])
        assert (found == (places < 40)).all()
        assert rows.dtype == np.dtype("<f2")
        assert (rows[found] == features[places[found]]).all()
        assert not rows[~found].any()
        assert (reader.contains(DIGEST, keys[places]) == found).all()
        assert reader.faults == ()


def test_an_empty_store_finds_nothing(url: str) -> None:
    keys, _ = some(3)
    found, features = RegionStore(url).find(DIGEST, keys)
    assert not found.any()
    assert features.shape == (3, 0)
    found, features = RegionStore(url).find(DIGEST, keys[:0])
    assert found.shape == (0,)


def test_encoders_do_not_share_features(url: str) -> None:
    keys, features = some(4)
    store = RegionStore(url)
    store.add(DIGEST, FIELDS, keys, features)
    other = feature_digest({**FIELDS, "dtype": "<f4"})
    assert not store.contains(other, keys).any()
    store.add(other, FIELDS, keys, features.astype("<f4"))
    assert RegionStore(url).find(other, keys)[1].dtype == np.dtype("<f4")
    assert RegionStore(url).find(DIGEST, keys)[1].dtype == np.dtype("<f2")


def test_the_fingerprint_is_kept_readable(tmp_path: Path) -> None:
    import json

    RegionStore(tmp_path).add(DIGEST, FIELDS, *some(2))
    assert json.loads((tmp_path / DIGEST / "about.json").read_text()) == FIELDS


def test_two_writers_at_once_lose_nothing(url: str) -> None:
    (a, fa), (b, fb) = some(10, 1), some(10, 2)
    one, two = RegionStore(url), RegionStore(url)
    one.contains(DIGEST, a)
    two.contains(DIGEST, a)
    one.add(DIGEST, FIELDS, a, fa)
    two.add(DIGEST, FIELDS, a, fa)  # the same regions, the same name
    two.add(DIGEST, FIELDS, b, fb)
    found, features = RegionStore(url).find(DIGEST, np.concatenate([a, b]))
    assert found.all()
    assert (features == np.concatenate([fa, fb])).all()


def test_segments_are_named_by_their_content(tmp_path: Path) -> None:
    keys, features = some(5)
    for _ in range(2):
        RegionStore(tmp_path).add(DIGEST, FIELDS, keys, features)
    assert len(segments(tmp_path)) == 1


@pytest.mark.parametrize("part", ["head", "middle", "end", "truncated", "empty"])
def test_a_damaged_segment_is_reported_and_counts_as_absent(tmp_path: Path, part: str) -> None:
    keys, features = some(30)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys[:15], features[:15])
    store.add(DIGEST, FIELDS, keys[15:], features[15:])
    victim = segments(tmp_path)[0]
    data = bytearray(victim.read_bytes())
    if part == "truncated":
        del data[-1:]
    elif part == "empty":
        data.clear()
    else:
        data[{"head": 50, "middle": len(data) // 2, "end": -1}[part]] ^= 4
    victim.write_bytes(data)
    reader = RegionStore(tmp_path)
    found, rows = reader.find(DIGEST, keys)
    assert found.sum() == 15
    assert (rows[found] == features[found]).all()
    assert (reader.contains(DIGEST, keys) == found).all()
    assert len(reader.faults) == 1
    assert victim.name in reader.faults[0]
    reader.add(DIGEST, FIELDS, keys[~found], features[~found])  # the same content, the same name
    for again in (reader, RegionStore(tmp_path)):
        assert again.find(DIGEST, keys)[0].all()
        assert (again.find(DIGEST, keys)[1] == features).all()


def test_a_whole_copy_elsewhere_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    keys, features = some(10)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys, features)
    store.add(DIGEST, FIELDS, keys[::-1], features[::-1])
    for victim in segments(tmp_path):
        data = victim.read_bytes()
        victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        found, rows = RegionStore(tmp_path).find(DIGEST, keys)
        assert found.all()
        assert (rows == features).all()
        victim.write_bytes(data)


def test_segments_that_vanish_are_encoded_again(tmp_path: Path) -> None:
    keys, features = some(10)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys, features)
    segments(tmp_path)[0].unlink()
    assert not store.find(DIGEST, keys)[0].any()
    assert len(store.faults) == 1


def test_half_written_and_foreign_files_are_ignored(tmp_path: Path) -> None:
    keys, features = some(10)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys, features)
    folder = tmp_path / DIGEST
    (folder / ".abc.segment.x1y2").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    (folder / "foreign.segment").write_bytes(encode_shard({"other": np.zeros(3)}))
    reader = RegionStore(tmp_path)
    assert reader.find(DIGEST, keys)[0].all()
    assert len(reader.faults) == 1
    assert "foreign.segment" in reader.faults[0]


def test_a_hundred_thousand_keys_are_looked_up_at_once(tmp_path: Path) -> None:
    keys, features = some(100_000, dim=1)
    store = RegionStore(tmp_path)
    for part in np.array_split(np.arange(len(keys)), 7):
        store.add(DIGEST, FIELDS, keys[part], features[part])
    order = np.random.default_rng(3).permutation(len(keys))
    found, rows = RegionStore(tmp_path).find(DIGEST, keys[order])
    assert found.all()
    assert (rows == features[order]).all()
