"""Cleaning a region store: what a cache holds stays readable, the rest goes."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from builds import IDENTITY, FakeEncoder, build, contents, draw_images, make_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store import Counted, counted, some  # noqa: F401 - a fixture

from fdbpl.cache import upkeep as sweeping
from fdbpl.cache.cache import CacheWriter
from fdbpl.cache.format import Shard, encode_shard
from fdbpl.cache.manifest import DamagedManifest
from fdbpl.cache.place import Place
from fdbpl.cache.store import RegionStore
from fdbpl.cache.upkeep import Sweep, held_keys, sweep, verify
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256

DIGEST = "ab" * 32
DIM = 4


def keys(*numbers: int) -> np.ndarray:
    digests = [hashlib.blake2b(bytes([n]), digest_size=16).digest() for n in numbers]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def features(*numbers: int) -> np.ndarray:
    return np.array([[n, n + 0.5, -n, 1] for n in numbers], np.float16).reshape(-1, DIM)


def fill(url: str | Path, *segments: tuple[int, ...], digest: str = DIGEST) -> None:
    for numbers in segments:
        store = RegionStore(url)
        store.add(digest, {"about": digest}, keys(*numbers), features(*numbers))


def hold(url: str | Path, *numbers: int) -> None:
    """Write a cache of some regions, the last of them as a test image."""
    writer = CacheWriter(url, IDENTITY)
    for table, part in (("train", numbers[:-1]), ("test", numbers[-1:])):
        writer.add(table, {"key": keys(*part), "feature": features(*part)})
    writer.finish()


def found(url: str | Path, *numbers: int, digest: str = DIGEST) -> list[bool]:
    """Tell which are stored, sure that those have their own features."""
    there, values = RegionStore(url).lookup(digest, keys(*numbers)).find(keys(*numbers))
    if there.any():
        assert (values[there] == features(*numbers)[there]).all()
    return there.tolist()


def segments(url: str | Path, digest: str = DIGEST) -> list[str]:
    return [name for name in Place(url).names(digest) if name.endswith(".segment")]


def numbers_of(done: Sweep) -> tuple[int, int, tuple[int, int]]:
    return done.kept, done.dropped, done.segments


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_what_no_cache_holds_goes_and_the_rest_stays(tmp_path: Path, scheme: str) -> None:
    store, caches = f"{scheme}{tmp_path}/store", f"{scheme}{tmp_path}/caches"
    fill(store, (1, 2, 3), (4, 5), (6,))
    hold(f"{caches}/a/teacher", 1, 2)
    hold(f"{caches}/b/teacher", 5)
    before = segments(store)
    (would,) = sweep(store, held_keys([caches]), delete=False)
    assert numbers_of(would) == (3, 3, (3, 1))
    assert segments(store) == before
    assert found(store, 1, 2, 3, 4, 5, 6) == [True] * 6
    (done,) = sweep(store, held_keys([caches]), delete=True)
    assert numbers_of(done) == (3, 3, (3, 1))
    assert done.bytes[0] == would.bytes[0] > done.bytes[1]
    assert found(store, 1, 2, 3, 4, 5, 6) == [True, True, False, False, True, False]
    (again,) = sweep(store, held_keys([caches]), delete=True)
    assert numbers_of(again) == (3, 0, (1, 1))


def test_small_segments_become_large_ones_and_large_ones_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "SEGMENT_BYTES", 1)  # now every segment is large
    fill(tmp_path / "store", (1, 2), (3, 4))
    hold(tmp_path / "c", 1, 2, 3, 4)
    before = segments(tmp_path / "store")
    sweep(tmp_path / "store", held_keys([tmp_path / "c"]), delete=True)
    assert segments(tmp_path / "store") == before
    monkeypatch.undo()
    sweep(tmp_path / "store", held_keys([tmp_path / "c"]), delete=True)
    (whole,) = segments(tmp_path / "store")
    assert whole not in before
    assert found(tmp_path / "store", 1, 2, 3, 4) == [True] * 4


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True), max_size=6),
    st.sets(st.integers(0, 30), min_size=1),
    st.integers(1, 400),
)
def test_any_store_keeps_exactly_what_is_held(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], held: set[int], size: int
) -> None:
    root = tmp_path_factory.mktemp("any")
    fill(root / "store", (99,), *map(tuple, parts))
    hold(root / "c", *held)
    there = {99}.union(*parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "SEGMENT_BYTES", size)
        for _ in range(2):
            (done,) = sweep(root / "store", held_keys([root / "c"]), delete=True)
            assert found(root / "store", *range(31)) == [n in there & held for n in range(31)]
            assert done.kept == len(there & held)
        assert done.dropped == 0
        assert done.segments[1] == len(segments(root / "store"))


def test_held_keys_stand_in_the_order_of_the_caches(tmp_path: Path) -> None:
    hold(tmp_path / "a" / "teacher", 7, 3, 5, 1)
    hold(tmp_path / "b" / "teacher", 3, 9, 1, 2)
    assert (held_keys([tmp_path / "a", tmp_path / "b"]) == keys(7, 3, 5, 1, 9, 2)).all()
    assert (held_keys([tmp_path / "b", tmp_path]) == keys(3, 9, 1, 2, 7, 5)).all()


@settings(max_examples=40)
@given(
    st.permutations(range(30)),
    st.lists(st.integers(1, 29), min_size=1, unique=True).map(sorted),
    st.integers(1, 400),
    st.data(),
)
def test_large_segments_follow_the_caches_as_what_builds_wrote_did(
    tmp_path_factory: pytest.TempPathFactory,
    held: list[int],
    cuts: list[int],
    size: int,
    data: st.DataObject,
) -> None:
    root = tmp_path_factory.mktemp("order")
    # workers write in any order, and what is wanted of an image in any order too
    parts = [data.draw(st.permutations(part.tolist())) for part in np.split(np.array(held), cuts)]
    fill(root / "store", (99,), *map(tuple, parts))
    hold(root / "c", *held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "SEGMENT_BYTES", size)
        patch.setattr(sweeping, "SMALL", 1e9)
        sweep(root / "store", held_keys([root / "c"]), delete=True)
    place = Place(root / "store" / DIGEST)
    written = [
        [held.index(n) for n in Shard(place.read(name)).read(["feature"])["feature"][:, 0]]
        for name in segments(root / "store")
    ]
    assert [row for rows in sorted(written) for row in rows] == list(range(30))


@pytest.mark.parametrize("shards", [4, 16, 32])
def test_a_rebuild_from_a_cleaned_store_reads_it_about_once(
    counted: type[Counted],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    shards: int,
) -> None:
    monkeypatch.setattr(sweeping, "SEGMENT_BYTES", 4 << 20)
    url, (held, values) = "counted://swept", some(8192, dim=512)
    store = RegionStore(url)
    for start in range(0, 8192, 64):
        part = slice(start, start + 64)
        store.add(DIGEST, {}, held[part], values[part])
    (done,) = sweep(url, held, delete=True)
    assert done.segments == (128, 2)
    lookup = RegionStore(url).lookup(DIGEST, held)
    counted.fetched.clear()
    for part in np.array_split(np.arange(8192), shards):
        assert (lookup.find(held[part])[1] == values[part]).all()
    assert sum(counted.fetched) < 1.5 * counted.size()


def test_every_encoder_has_a_folder_of_its_own(tmp_path: Path) -> None:
    other = "cd" * 32
    fill(tmp_path / "store", (1, 2))
    fill(tmp_path / "store", (3, 4), digest=other)
    hold(tmp_path / "c", 1)
    done = sweep(tmp_path / "store", held_keys([tmp_path / "c"]), delete=True)
    assert [numbers_of(one) for one in done] == [(1, 1, (1, 1)), (0, 2, (1, 0))]
    assert found(tmp_path / "store", 1, 2) == [True, False]
    assert segments(tmp_path / "store", other) == []


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_bit_takes_nothing_that_has_a_sound_copy(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("flip")
    parts = data.draw(st.permutations([(1, 2, 3), (3, 4), (5, 1, 9), (2, 6)]))
    fill(root / "store", *parts)
    hold(root / "c", 1, 2, 3, 4, 5, 6)
    names = segments(root / "store")
    victim = root / "store" / DIGEST / data.draw(st.sampled_from(names))
    content = bytearray(victim.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    hit = Shard(victim.read_bytes()).read(["feature"])["feature"][:, 0]
    sound = {n for part in parts if set(part) != set(hit) for n in part}
    victim.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "SEGMENT_BYTES", data.draw(st.sampled_from([1, 50, 64 << 20])))
        (would,) = sweep(root / "store", held_keys([root / "c"]), delete=False)
        (done,) = sweep(root / "store", held_keys([root / "c"]), delete=True)
    assert [victim.name in fault for fault in done.faults] == [True]
    assert would.faults == done.faults
    assert found(root / "store", *range(1, 7)) == [n in sound for n in range(1, 7)]
    assert verify(root / "store").faults == ()


def test_a_whole_shard_that_is_no_segment_is_named_and_goes(tmp_path: Path) -> None:
    fill(tmp_path / "store", (1, 2))
    hold(tmp_path / "c", 1, 2)
    other = encode_shard({"other": np.zeros(3)})
    name = f"{sha256(other)[:32]}.segment"
    (tmp_path / "store" / DIGEST / name).write_bytes(other)
    for faults in (
        verify(tmp_path / "store").faults,
        sweep(tmp_path / "store", held_keys([tmp_path / "c"]), delete=True)[0].faults,
    ):
        assert [name in fault for fault in faults] == [True]
    assert verify(tmp_path / "store").faults == ()
    assert found(tmp_path / "store", 1, 2) == [True] * 2


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_what_killed_writers_left_goes_when_no_one_can_be_writing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    store = f"{scheme}{tmp_path}/store"
    fill(store, (1, 2))
    hold(tmp_path / "c", 1, 2)
    place, (name,) = Place(f"{store}/{DIGEST}"), segments(store)
    left = [f".{name}.x1y2z3", ".about.json.x1y2z3"]
    for one in [*left, "notes.txt", ".hidden"]:
        place.write(one, b"half")
    others = [".hidden", "about.json", "notes.txt", name]

    def swept(delete: bool) -> tuple[int, list[str]]:
        (done,) = sweep(store, held_keys([tmp_path / "c"]), delete=delete)
        return done.leftovers, [one for one in place.names() if one not in others]

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_000)
    assert swept(delete=True) == (0, sorted(left))
    monkeypatch.setattr(time, "time", lambda: now + 87_000)
    assert swept(delete=False) == (2, sorted(left))
    assert swept(delete=True) == (2, [])
    assert set(others) <= set(place.names())
    assert found(store, 1, 2) == [True] * 2


def test_a_kill_between_writing_and_removing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "store", (1, 2, 9), (3, 4))
    hold(tmp_path / "c", 1, 2, 3, 4)
    for calls in range(4):  # the kill comes ever later
        left = [calls]

        def step(action, left=left):
            def killed(*args):
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                return action(*args)

            return killed

        with monkeypatch.context() as patch:
            patch.setattr(Place, "write", step(Place.write))
            patch.setattr(Place, "remove", step(Place.remove))
            try:
                sweep(tmp_path / "store", held_keys([tmp_path / "c"]), delete=True)
            except KeyboardInterrupt:
                assert calls < 3
        assert found(tmp_path / "store", 1, 2, 3, 4) == [True] * 4
    sweep(tmp_path / "store", held_keys([tmp_path / "c"]), delete=True)
    assert found(tmp_path / "store", 1, 2, 3, 4, 9) == [True] * 4 + [False]


def test_without_all_caches_nothing_is_swept(tmp_path: Path) -> None:
    fill(tmp_path / "store", (1, 2))
    with pytest.raises(
        UserError, match=r"none: no cache here or below.*leave out what is not there"
    ):
        held_keys([tmp_path / "none"])
    hold(tmp_path / "c", 1)
    path = tmp_path / "c" / "manifest.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedManifest):
        held_keys([tmp_path / "c"])
    hold(tmp_path / "c", 1)
    with pytest.raises(UserError, match="no region store here"):
        sweep(tmp_path / "c", held_keys([tmp_path / "c"]), delete=True)


def test_a_build_that_a_sweep_interrupts_ends_as_any(tmp_path: Path) -> None:
    draw_images(tmp_path / "images")
    plan, folder = make_plan(tmp_path / "images"), tmp_path / "images"
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "a"), tmp_path / "alone")
    small = make_plan(folder, 2, 1)
    build(small, folder, FakeEncoder(), RegionStore(tmp_path / "b"), tmp_path / "held")
    build(make_plan(folder, 6), folder, FakeEncoder(), RegionStore(tmp_path / "b"), "memory://gone")
    swept = []

    @dataclass
    class Swept(FakeEncoder):
        def encode(self, pixels: np.ndarray) -> np.ndarray:
            if not swept:
                swept.extend(sweep(tmp_path / "b", held_keys([tmp_path / "held"]), delete=True))
            return super().encode(pixels)

    build(plan, folder, Swept(), RegionStore(tmp_path / "b"), tmp_path / "swept")
    assert swept[0].dropped > 0
    assert contents(tmp_path / "swept") == contents(tmp_path / "alone")


def test_segments_that_change_places_during_a_sweep_end_it_before_anything_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    fill(store, (1, 2), (3, 4))
    hold(tmp_path / "c", 1, 4)
    held = held_keys([tmp_path / "c"])
    first, second = sorted((store / DIGEST).glob("*.segment"))
    judge = sweeping._judged

    def swap_then_judge(*arguments):
        was = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(was)
        return judge(*arguments)

    monkeypatch.setattr(sweeping, "_judged", swap_then_judge)
    with pytest.raises(UserError, match=r"changed while the store was cleaned .*its SHA-256 is"):
        sweep(store, held, delete=True)
    assert found(store, 1, 2, 3, 4) == [True] * 4


@pytest.mark.parametrize("lies", [1, 2])
def test_a_segment_goes_for_two_bad_answers_of_the_store_and_not_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lies: int
) -> None:
    fill(tmp_path / "store", (1, 2), (3, 4))
    hold(tmp_path / "c", 1, 2, 3, 4)
    held, (bad, _), left = held_keys([tmp_path / "c"]), segments(tmp_path / "store"), [lies]
    read = Place.read

    def lie(place: Place, name: str) -> bytes:
        if name == bad and left[0]:
            left[0] -= 1
            return read(place, name)[:-1]
        return read(place, name)

    monkeypatch.setattr(Place, "read", lie)
    (done,) = sweep(tmp_path / "store", held, delete=True)
    assert len(done.faults) == lies - 1
    assert sum(found(tmp_path / "store", 1, 2, 3, 4)) == (4 if lies == 1 else 2)
