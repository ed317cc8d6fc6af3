from pathlib import Path

import numpy as np
import pytest

from fdbpl.cache.cache import Cache, CacheWriter, open_cache
from fdbpl.cache.layout import DamagedShard
from fdbpl.cache.manifest import DamagedManifest, Identity, OtherCache
from fdbpl.errors import UserError

IDENTITY = Identity(
    kind="teacher",
    model={"source": "tiny", "logit_scale": 18.7},
    encoder={"activation": "gelu"},
    decoder="fdbpl-1/pillow-13",
    dataset="textures",
    images="12" * 32,
    policy={"seed": 1},
    payload={"name": "float16"},
    plan="ab" * 32,
)
GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.standard_normal((40, 6)).astype("<f2")
IMAGES = np.arange(40, dtype="<u4") // 4


def write(url: str | Path, features: np.ndarray = FEATURES, identity: Identity = IDENTITY) -> None:
    writer = CacheWriter(url, identity)
    for part in (slice(0, 25), slice(25, 40)):
        writer.add("train", {"image": IMAGES[part], "feature": features[part]})
    writer.add("text/generic", {"values": features[:3].astype("<f4")})
    writer.finish()


def read_all(cache: Cache) -> None:
    for table in cache.manifest.tables:
        cache.columns(table)


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_what_is_written_is_read(tmp_path: Path, scheme: str) -> None:
    write(f"{scheme}{tmp_path}/c")
    cache = open_cache(f"{scheme}{tmp_path}/c", IDENTITY.model_dump())
    assert (cache.column("train") == FEATURES).all()
    assert (cache.column("train", "image") == IMAGES).all()
    assert list(cache.columns("train")) == ["image", "feature"]
    assert (cache.text("generic") == FEATURES[:3]).all()
    with pytest.raises(UserError, match=r"no class vectors 'ensemble'\. Run cache-teacher again"):
        cache.text("ensemble")
    assert cache.verify() == []
    with pytest.raises(KeyError):
        cache.column("test")


def test_a_missing_cache_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"c/manifest\.json: no cache here.*cache-teacher"):
        open_cache(tmp_path / "c")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no cache here"):
        open_cache(tmp_path / "file")


def test_another_teachers_cache_is_refused_naming_the_field(tmp_path: Path) -> None:
    write(tmp_path / "c")
    expected = {"encoder": {"activation": "quick_gelu"}}
    with pytest.raises(OtherCache, match=r'encoder.activation is "gelu", wanted "quick_gelu"'):
        open_cache(tmp_path / "c", expected)


def test_damaged_bytes_of_every_file_is_found_and_named(tmp_path: Path) -> None:
    write(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        for position in range(0, len(data), 3):
            damaged = bytearray(data)
            damaged[position] ^= 1 << position % 8
            path.write_bytes(damaged)
            with pytest.raises((DamagedManifest, DamagedShard), match=path.name):
                read_all(open_cache(tmp_path))
        path.write_bytes(data)
    read_all(open_cache(tmp_path))


def test_missing_truncated_and_swapped_shards_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path / "other", FEATURES + 1)
    one, two = sorted(tmp_path.glob("train*.shard"))
    foreign = next((tmp_path / "other").glob("train-00000*.shard")).read_bytes()
    data, swapped = one.read_bytes(), two.read_bytes()
    for content in (b"", data[:-1], data[:30], swapped, foreign):
        one.write_bytes(content)
        with pytest.raises(DamagedShard, match=one.name):
            open_cache(tmp_path).column("train")
        faults = open_cache(tmp_path).verify()
        assert len(faults) == 1
        assert one.name in faults[0]
    one.unlink()
    with pytest.raises(DamagedShard, match=rf"{one.name}.*missing"):
        open_cache(tmp_path).column("train")
    assert len(open_cache(tmp_path).verify()) == 1


def test_a_cache_stays_whole_until_its_successor_is(tmp_path: Path) -> None:
    write(tmp_path)
    writer = CacheWriter(tmp_path, IDENTITY)
    writer.add("train", {"image": IMAGES, "feature": FEATURES * 2})
    assert (open_cache(tmp_path).column("train") == FEATURES).all()
    writer.finish()
    assert (open_cache(tmp_path).column("train") == FEATURES * 2).all()
    assert len(list(tmp_path.iterdir())) == 2  # the manifest and one shard: nothing old is left


def test_equal_caches_are_equal_bytes_over_leftovers_of_any_kind(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", FEATURES - 1)
    (tmp_path / "b" / ".train-00000-ab.shard.x1").write_bytes(b"half")
    (tmp_path / "b" / ".manifest.json.x2").write_bytes(b"half")
    write(tmp_path / "b")
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert one == other


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_columns_of_a_table_do_not_change_midway(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path, IDENTITY)
    writer.add("train", {"feature": FEATURES})
    with pytest.raises(ValueError, match="train"):
        writer.add("train", {"feature": FEATURES.astype("<f4")})
