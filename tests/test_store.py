import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fdbpl.cache import store as storing
from fdbpl.cache.format import Shard, encode_shard
from fdbpl.cache.place import Place
from fdbpl.cache.store import RegionStore
from fdbpl.system.files import canonical_json, sha256

FIELDS = {"encoder": {"architecture": "tiny"}, "dtype": "<f2"}
DIGEST = sha256(canonical_json(FIELDS))


@pytest.fixture(params=["local", "memory"])
def url(request, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path}/store"


class Counted(MemoryFileSystem):
    """A store in memory that counts what is fetched of it."""

    protocol = "counted"
    store: dict = {}  # noqa: RUF012 - as the class above keeps it
    pseudo_dirs = [""]  # noqa: RUF012
    fetched: list[int] = []  # noqa: RUF012 - bytes of each request

    def cat_file(self, path, start=None, end=None, **options):
        data = super().cat_file(path, start=start, end=end, **options)
        self.fetched.append(len(data))
        return data

    @classmethod
    def size(cls) -> int:
        """Return the bytes of all files."""
        return sum(len(file.getbuffer()) for file in cls.store.values())


@pytest.fixture
def counted() -> Iterator[type[Counted]]:
    fsspec.register_implementation("counted", Counted, clobber=True)
    Counted.store.clear()
    Counted.fetched.clear()
    yield Counted
    Counted.store.clear()


def some(count: int, seed: int = 0, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    keys = generator.integers(0, 256, (count, 16), np.uint8)
    keys[::3, -1] = 0  # keys may end in zeros
    return keys, generator.standard_normal((count, dim)).astype("<f2")


def find(store: RegionStore, digest: str, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return store.lookup(digest, keys).find(keys)


def contains(store: RegionStore, digest: str, keys: np.ndarray) -> np.ndarray:
    return store.lookup(digest, keys).contains(keys)


def segments(folder: Path) -> list[Path]:
    return sorted((folder / DIGEST).glob("*.segment"))


def test_what_is_added_is_found_in_any_order_and_more_than_once(url: str) -> None:
    keys, features = some(50)
    store = RegionStore(url)
    store.add(DIGEST, FIELDS, keys[:20], features[:20])
    store.add(DIGEST, FIELDS, keys[20:40], features[20:40])
    places = np.random.default_rng(1).integers(0, 50, 200)
    for reader in (store, RegionStore(url)):
        found, rows = find(reader, DIGEST, keys[places])
        assert (found == (places < 40)).all()
        assert rows.dtype == np.dtype("<f2")
        assert (rows[found] == features[places[found]]).all()
        assert not rows[~found].any()
        assert (contains(reader, DIGEST, keys[places]) == found).all()
        assert reader.faults == ()


def test_encoders_do_not_share_features_and_an_empty_store_has_none(url: str) -> None:
    keys, features = some(4)
    store = RegionStore(url)
    found, nothing = find(store, DIGEST, keys)
    assert not found.any()
    assert nothing.shape == (4, 0)
    assert find(store, DIGEST, keys[:0])[0].shape == (0,)
    store.add(DIGEST, FIELDS, keys, features)
    other = "ab" * 32
    assert not contains(store, other, keys).any()
    store.add(other, FIELDS, keys, features.astype("<f4"))
    assert find(RegionStore(url), other, keys)[1].dtype == np.dtype("<f4")
    assert find(RegionStore(url), DIGEST, keys)[1].dtype == np.dtype("<f2")


def test_two_writers_at_once_lose_nothing(url: str) -> None:
    (a, fa), (b, fb) = some(10, 1), some(10, 2)
    one, two = RegionStore(url), RegionStore(url)
    contains(one, DIGEST, a)
    contains(two, DIGEST, a)
    one.add(DIGEST, FIELDS, a, fa)
    two.add(DIGEST, FIELDS, a, fa)  # the same regions, the same name
    two.add(DIGEST, FIELDS, b, fb)
    found, features = find(RegionStore(url), DIGEST, np.concatenate([a, b]))
    assert found.all()
    assert (features == np.concatenate([fa, fb])).all()
    place = Place(url)
    assert sum(name.endswith(".segment") for name in place.names(DIGEST)) == 2
    assert json.loads(place.read(f"{DIGEST}/about.json")) == FIELDS  # for people


def test_a_whole_copy_elsewhere_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    keys, features = some(10)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys, features)
    store.add(DIGEST, FIELDS, keys[::-1], features[::-1])
    for victim in segments(tmp_path):
        data = victim.read_bytes()
        victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        found, rows = find(RegionStore(tmp_path), DIGEST, keys)
        assert found.all()
        assert (rows == features).all()
        victim.write_bytes(data)


def test_segments_that_vanish_are_encoded_again(tmp_path: Path) -> None:
    keys, features = some(10)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys, features)
    lookup = store.lookup(DIGEST, keys)
    segments(tmp_path)[0].unlink()
    assert not lookup.find(keys)[0].any()
    assert not lookup.contains(keys).any()
    assert len(store.faults) == 1
    assert store.faults[0].endswith(".segment: it is missing")


@pytest.mark.parametrize("kept", [0, 25, 10**6])
def test_a_lookup_needs_no_memory_of_other_keys(tmp_path: Path, monkeypatch, kept: int) -> None:
    monkeypatch.setattr(storing, "KEPT_KEYS", kept)
    keys, features = some(100)
    store = RegionStore(tmp_path)
    for part in (slice(0, 30), slice(20, 60), slice(55, 90)):  # some keys in two segments
        store.add(DIGEST, FIELDS, keys[part], features[part])
    for reader in (store, RegionStore(tmp_path)):
        for wanted in (slice(0, 100), slice(10, 12), slice(40, 95), slice(0, 0)):
            lookup = reader.lookup(DIGEST, keys[wanted])
            found, rows = lookup.find(keys[wanted][::-1])
            assert (found == (np.arange(100)[wanted][::-1] < 90)).all()
            assert (rows[found] == features[wanted][::-1][found]).all()
        held = [one for one in reader._segments[DIGEST]._keys if one is not None]
        assert sum(map(len, held)) <= kept
    segments(tmp_path)[1].unlink()  # of keys that are not kept the loss shows at once
    assert reader.lookup(DIGEST, keys).find(keys)[0].sum() in range(50, 90)
    assert len(reader.faults) >= 1
    assert all(one.endswith(".segment: it is missing") for one in reader.faults)


def test_segments_put_together_by_a_cleaning_stand_in_for_those_they_were(tmp_path: Path) -> None:
    keys, features = some(20)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys[:10], features[:10])
    store.add(DIGEST, FIELDS, keys[10:], features[10:])
    lookup = store.lookup(DIGEST, keys)
    small = segments(tmp_path)
    RegionStore(tmp_path).add(DIGEST, FIELDS, keys, features)
    for one in small:
        one.unlink()
    found, rows = lookup.find(keys)
    assert found.all()
    assert (rows == features).all()


OTHERS = {
    "swapped with a sibling": lambda data, other: other,
    "cut": lambda data, other: data[: len(data) // 2],
    "empty": lambda data, other: b"",
    "with fewer rows": lambda data, other: encode_shard(
        {name: values[:1] for name, values in Shard(other).read().items()}
    ),
    "of another encoder": lambda data, other: encode_shard(
        {"key": Shard(data).read()["key"], "feature": np.zeros((10, 7), "<f2")}
    ),
    "of a cache": lambda data, other: encode_shard({"values": np.zeros((10, 6), "<f4")}),
}


@pytest.mark.parametrize("spared", [0, 1 << 20])  # read in parts, and whole
@pytest.mark.parametrize("kept", [0, 100])
@pytest.mark.parametrize("is_own", [False, True])
@pytest.mark.parametrize("damage", OTHERS)
def test_a_segment_that_is_another_when_it_is_read_again_is_lost_not_believed(
    url: str, monkeypatch, spared: int, kept: int, is_own: bool, damage: str
) -> None:
    monkeypatch.setattr(storing, "SPARED_BYTES", spared)
    monkeypatch.setattr(storing, "KEPT_KEYS", kept)
    keys, features = some(30)
    writer, place = RegionStore(url), Place(url)
    writer.lookup(DIGEST, keys)
    names = [
        writer.add(DIGEST, FIELDS, keys[part], features[part])
        for part in (slice(0, 10), slice(10, 20), slice(20, 30))
    ]
    store = writer if is_own else RegionStore(url)
    lookup = store.lookup(DIGEST, keys)
    whole, other = (place.read(f"{DIGEST}/{name}") for name in names[:2])
    place.write(f"{DIGEST}/{names[0]}", OTHERS[damage](whole, other))
    found, rows = lookup.find(keys)
    assert found.tolist() == [False] * 10 + [True] * 20
    assert (rows[10:] == features[10:]).all()
    assert len(store.faults) == 1
    assert f"{DIGEST}/{names[0]}: damaged shard" in store.faults[0]
    place.write(f"{DIGEST}/{names[0]}", whole)
    assert (find(RegionStore(url), DIGEST, keys)[1] == features).all()


def test_what_others_add_is_seen_after_a_refresh(url: str) -> None:
    keys, features = some(20)
    one, other = RegionStore(url), RegionStore(url)
    lookup = one.lookup(DIGEST, keys)
    other.add(DIGEST, FIELDS, keys[:5], features[:5])
    assert not lookup.contains(keys).any()
    lookup.refresh()
    assert (lookup.contains(keys) == (np.arange(20) < 5)).all()
    one.add(DIGEST, FIELDS, keys[5:9], features[5:9])  # one's own need none
    found, rows = lookup.find(keys)
    assert (found == (np.arange(20) < 9)).all()
    assert (rows[:9] == features[:9]).all()


def test_half_written_and_foreign_files_are_ignored(tmp_path: Path) -> None:
    keys, features = some(10)
    store = RegionStore(tmp_path)
    store.add(DIGEST, FIELDS, keys, features)
    folder = tmp_path / DIGEST
    (folder / ".abc.segment.x1y2").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    (folder / "foreign.segment").write_bytes(encode_shard({"other": np.zeros(3)}))
    reader = RegionStore(tmp_path)
    assert find(reader, DIGEST, keys)[0].all()
    assert len(reader.faults) == 1
    assert "foreign.segment" in reader.faults[0]


@pytest.mark.parametrize("shards", [2, 8, 32])
def test_a_large_remote_segment_is_read_about_once_however_many_shards_want_it(
    counted: type[Counted], shards: int
) -> None:
    keys, features = some(8192, dim=512)
    store = RegionStore("counted://large")
    for part in (slice(0, 4096), slice(4096, 8192)):
        store.add(DIGEST, FIELDS, keys[part], features[part])
    lookup = RegionStore("counted://large").lookup(DIGEST, keys)
    counted.fetched.clear()
    for part in np.array_split(np.arange(len(keys)), shards):
        assert (lookup.find(keys[part])[1] == features[part]).all()
    assert sum(counted.fetched) < 1.5 * counted.size()


def test_a_small_remote_segment_is_read_by_one_request(counted: type[Counted]) -> None:
    keys, features = some(512, dim=512)
    store = RegionStore("counted://small")
    store.add(DIGEST, FIELDS, keys, features)
    for wanted in (slice(0, 512), slice(500, 512)):
        lookup = store.lookup(DIGEST, keys)
        counted.fetched.clear()
        assert (lookup.find(keys[wanted])[1] == features[wanted]).all()
        assert len(counted.fetched) == 1
