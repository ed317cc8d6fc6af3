import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from builds import IDENTITY
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.cache.cache import CacheWriter, open_cache
from fdbpl.cache.manifest import Identity, render
from fdbpl.cache.place import Place
from fdbpl.system.errors import UserError

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.standard_normal((40, 6)).astype("<f2")
IMAGES = np.arange(40, dtype="<u4") // 4


def write(url: str | Path, features: np.ndarray = FEATURES, identity: Identity = IDENTITY) -> None:
    writer = CacheWriter(url, identity)
    for part in (slice(0, 25), slice(25, 40)):
        writer.add("train", {"image": IMAGES[part], "feature": features[part]})
    writer.add("text/generic", {"values": features[:3].astype("<f4")})
    writer.finish()


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


def test_verify_compares_the_sha256_with_the_manifests(tmp_path: Path) -> None:
    write(tmp_path)
    manifest = open_cache(tmp_path).manifest
    table = manifest.tables["train"]
    first = table.shards[0].model_copy(update={"sha256": "00" * 32})
    table = table.model_copy(update={"shards": (first, *table.shards[1:])})
    changed = manifest.model_copy(update={"tables": {**manifest.tables, "train": table}})
    (tmp_path / "manifest.json").write_bytes(render(changed))
    (fault,) = open_cache(tmp_path).verify()
    assert first.name in fault


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


def test_what_others_write_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path)
    names = ["train-00000-abcd.shard", ".train-00001-abcd.shard.x1", "notes.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"young")
    write(tmp_path, FEATURES - 1)
    assert [(tmp_path / name).read_bytes() for name in names] == [b"young"] * 3
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


@pytest.mark.parametrize(
    ("before", "both", "steps", "stands"),
    [
        (None, [(1, 2), (3, 4)], 1, 1),  # what another has written so far is not taken
        (None, [(1, 2), (3, 4)], 2, 1),
        (None, [(1, 2), (3, 4)], 3, 1),
        ((0, 0), [(1, 1), (0, 2)], 5, 0),  # nor is what it names again, once the manifest stands
    ],
)
def test_of_two_builds_at_once_neither_takes_the_others_shards(
    tmp_path: Path, before: Contents | None, both: list[Contents], steps: int, stands: int
) -> None:
    url = str(tmp_path / "c")
    if before:
        steps_of_a_build(url, before)
    with pytest.MonkeyPatch.context() as patch:
        assert Turns(patch).take(url, both, [steps]) == [None, None]
    assert open_cache(url).verify() == []
    assert open_cache(url).features("train")[0] == stands


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
