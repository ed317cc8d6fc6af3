import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.cache.cache import Cache, CacheWriter, open_cache
from fdbpl.cache.layout import DamagedShard
from fdbpl.cache.manifest import DamagedManifest, Identity, OtherCache
from fdbpl.cache.place import Place
from fdbpl.system.errors import UserError

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
    assert (cache.features("train") == FEATURES).all()
    assert (cache.column("train", "image") == IMAGES).all()
    assert list(cache.columns("train")) == ["image", "feature"]
    assert (cache.text("generic") == FEATURES[:3]).all()
    with pytest.raises(UserError, match=r"no class vectors 'ensemble'\. Run cache-teacher again"):
        cache.text("ensemble")
    assert cache.verify() == []
    with pytest.raises(KeyError):
        cache.features("test")


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
            open_cache(tmp_path).features("train")
        faults = open_cache(tmp_path).verify()
        assert len(faults) == 1
        assert one.name in faults[0]
    one.unlink()
    with pytest.raises(DamagedShard, match=rf"{one.name}.*missing"):
        open_cache(tmp_path).features("train")
    assert len(open_cache(tmp_path).verify()) == 1


def test_a_cache_stays_whole_until_its_successor_is(tmp_path: Path) -> None:
    write(tmp_path)
    writer = CacheWriter(tmp_path, IDENTITY)
    writer.add("train", {"image": IMAGES, "feature": FEATURES * 2})
    assert (open_cache(tmp_path).features("train") == FEATURES).all()
    writer.finish()
    assert (open_cache(tmp_path).features("train") == FEATURES * 2).all()
    assert len(list(tmp_path.iterdir())) == 2  # the manifest and one shard: nothing old is left


def test_equal_caches_are_equal_bytes_over_leftovers_of_any_kind(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", FEATURES - 1)
    again = next(tmp_path.glob("a/train-00000-*")).name
    for name in (".train-00000-ab.shard.x1", f".{again}.x2", ".manifest.json.x3", "test-a.shard"):
        (tmp_path / "b" / name).write_bytes(b"half")
        if again not in name:
            os.utime(tmp_path / "b" / name, (0, 0))
    write(tmp_path / "b")
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert one == other


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_another_build_writes_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path)
    names = ["train-00000-abcd.shard", ".train-00001-abcd.shard.x1"]
    for name in names:
        (tmp_path / name).write_bytes(b"young")
    write(tmp_path, FEATURES - 1)
    assert [(tmp_path / name).read_bytes() for name in names] == [b"young"] * 2
    assert len(list(tmp_path.iterdir())) == 4 + len(names)


TABLES = ("train", "text/a")
Contents = tuple[int, int]  # of these tables


def steps_of_a_build(url: str, contents: Contents) -> None:
    writer = CacheWriter(url, IDENTITY)
    for table, value in zip(TABLES, contents, strict=True):
        writer.add(table, {"feature": np.full(3, value, "<f2")})
    writer.finish()


class Turns:
    """Two builds in threads, of which one at a time takes a step: one call of its Place."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.go = [threading.Semaphore(0), threading.Semaphore(0)]
        self.stopped = [threading.Semaphore(0), threading.Semaphore(0)]
        self.ended = [False, False]
        self.me = threading.local()
        for name in ("write", "read", "names", "remove"):
            patch.setattr(Place, name, self.stepwise(getattr(Place, name)))

    def stepwise(self, method):
        def step(place, *inputs):
            self.stopped[self.me.number].release()
            self.go[self.me.number].acquire()
            return method(place, *inputs)

        return step

    def build(self, number: int, url: str, contents: Contents) -> str | None:
        self.me.number = number
        try:
            steps_of_a_build(url, contents)
        except UserError as error:
            return str(error)
        finally:
            self.ended[number] = True
            self.stopped[number].release()
        return None

    def take(self, url: str, both: list[Contents], runs: list[int]) -> list[str | None]:
        """Let the builds take so many steps by turns, then the rest; return what each said."""
        with ThreadPoolExecutor(2) as pool:
            said = [pool.submit(self.build, number, url, both[number]) for number in (0, 1)]
            for one in self.stopped:
                one.acquire()
            for turn, steps in enumerate([*runs, 99, 99]):
                number = turn % 2
                for _ in range(steps):
                    if self.ended[number]:
                        break
                    self.go[number].release()
                    self.stopped[number].acquire()
        return [one.result() for one in said]


CONTENTS = st.tuples(st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=400, deadline=None)
@given(
    before=CONTENTS,
    both=st.lists(CONTENTS, min_size=2, max_size=2),
    runs=st.lists(st.integers(0, 12), max_size=7),
)
def test_of_two_builds_at_once_a_whole_cache_stands_or_one_of_them_says_so(
    before: Contents, both: list[Contents], runs: list[int]
) -> None:
    url = f"memory://{secrets.token_hex(8)}"
    steps_of_a_build(url, before)
    with pytest.MonkeyPatch.context() as patch:
        said = Turns(patch).take(url, both, runs)
    cache = open_cache(url)
    faults = cache.verify()
    held = () if faults else tuple(int(cache.features(table)[0]) for table in TABLES)
    fsspec.filesystem("memory").rm(f"/{url.removeprefix('memory://')}", recursive=True)
    told = [one for one in said if one]
    assert all("another build wrote to this cache at the same time" in one for one in told)
    assert not faults or told
    assert faults or held in both
    assert both[0] != both[1] or not told  # builds of one cache do not disturb each other


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_build_does_not_take_what_another_has_written_so_far(tmp_path: Path, steps: int) -> None:
    url = str(tmp_path / "c")
    with pytest.MonkeyPatch.context() as patch:
        assert Turns(patch).take(url, [(1, 2), (3, 4)], [steps]) == [None, None]
    assert open_cache(url).verify() == []
    assert open_cache(url).features("train")[0] == 1


def test_a_replaced_shard_that_another_build_names_meanwhile_stays(tmp_path: Path) -> None:
    url = str(tmp_path / "c")
    steps_of_a_build(url, (0, 0))
    with pytest.MonkeyPatch.context() as patch:  # the first has just written its manifest
        assert Turns(patch).take(url, [(1, 1), (0, 2)], [5]) == [None, None]
    assert open_cache(url).verify() == []
    assert open_cache(url).features("train")[0] == 0


def test_a_build_that_lost_a_shard_does_not_replace_a_whole_cache(tmp_path: Path) -> None:
    write(tmp_path)
    before = set(tmp_path.iterdir())
    writer = CacheWriter(tmp_path, IDENTITY)
    writer.add("train", {"feature": FEATURES * 2})
    lost = next(path for path in tmp_path.glob("*.shard") if path not in before)
    lost.unlink()
    with pytest.raises(UserError, match=rf"{lost.name}: another build wrote .* run again"):
        writer.finish()
    assert open_cache(tmp_path).verify() == []


def test_columns_of_a_table_do_not_change_midway(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path, IDENTITY)
    writer.add("train", {"feature": FEATURES})
    with pytest.raises(ValueError, match="train"):
        writer.add("train", {"feature": FEATURES.astype("<f4")})
