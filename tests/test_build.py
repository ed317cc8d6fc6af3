"""A cache built from a plan: every view once, in canonical order, whatever interrupted it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import CROPS, FakeEncoder, build, contents, draw_images, make_plan, plain_features

from fdbpl.cache import build as building
from fdbpl.cache import open_cache, region_features
from fdbpl.cache.store import Lookup, RegionStore
from fdbpl.regions.boxes import REGION
from fdbpl.system.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw_images(tmp_path / "images")
    return tmp_path / "images"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_cache_holds_every_view_in_canonical_order(tmp_path, folder, dtype) -> None:
    plan, encoder = make_plan(folder), FakeEncoder()
    text = {"generic": np.eye(3, 8, dtype=np.float32), "dataset": np.ones((2, 3, 8), np.float32)}
    counts = build(
        plan,
        folder,
        encoder,
        RegionStore(tmp_path / "s"),
        tmp_path / "c",
        payload=dtype,
        text=text,
    )
    assert (counts.encoded, counts.reused, counts.faults) == (8 * CROPS + 4, 0, ())
    cache = open_cache(tmp_path / "c")
    train, test = plain_features(plan, folder, FakeEncoder())
    assert cache.features("train").dtype == np.dtype(dtype)
    assert (cache.features("train") == train.astype(dtype)).all()
    assert (cache.features("test") == test.astype(dtype)).all()
    for name in REGION.names:
        assert (cache.column("train", name) == plan.regions[name]).all()
    assert (cache.column("test", "image") == plan.test).all()
    for name, values in text.items():
        assert (cache.text(name) == values).all()
    keys = np.concatenate([cache.column("train", "key"), cache.column("test", "key")])
    assert len(np.unique(keys, axis=0)) == len(keys)
    assert cache.verify() == []


def test_a_region_is_encoded_once(tmp_path, folder) -> None:
    store, encoder = RegionStore(tmp_path / "s"), FakeEncoder()
    few = build(make_plan(folder, 5, 3), folder, encoder, store, tmp_path / "few")
    assert (few.encoded, few.reused) == (5 * 3 + 7, 0)
    more = build(make_plan(folder, 8, 6), folder, encoder, store, tmp_path / "more")
    assert (more.encoded, more.reused) == (8 * 6 - 5 * 3, 15 + 4)
    again = build(
        make_plan(folder, 5, 3), folder, encoder, RegionStore(tmp_path / "s"), "memory://o"
    )
    assert (again.encoded, again.reused) == (0, 22)
    assert set(encoder.views.values()) == {1}


def test_regions_without_a_cache_have_the_features_that_a_cache_would_hold(
    tmp_path, folder
) -> None:
    plan, store, encoder = make_plan(folder), RegionStore(tmp_path / "s"), FakeEncoder()
    features, counts = region_features(plan, folder, encoder, store)
    assert (counts.encoded, counts.reused) == (8 * CROPS, 0)  # test views are not asked for
    counts = build(plan, folder, encoder, store, tmp_path / "c")
    assert (counts.encoded, counts.reused) == (4, 8 * CROPS)
    assert (features == open_cache(tmp_path / "c").features("train")).all()
    assert region_features(plan, folder, encoder, store)[1].encoded == 0


def test_equal_images_are_encoded_once(tmp_path, folder) -> None:
    (folder / "99.png").write_bytes((folder / "00.png").read_bytes())
    (folder / "98.png").write_bytes((folder / "09.png").read_bytes())
    encoder = FakeEncoder()
    plan = make_plan(folder, 8)
    plan = replace(plan, regions=np.concatenate([plan.regions, plan.regions[:CROPS]]))
    plan.regions["image"][-CROPS:] = 13
    counts = build(plan, folder, encoder, RegionStore(tmp_path / "s"), tmp_path / "c")
    assert counts.encoded == 8 * CROPS + 4 + 1  # image 99 in the test split is seen anew
    assert counts.reused == 0
    assert set(encoder.views.values()) == {1}
    train = open_cache(tmp_path / "c").features("train")
    assert (train[-CROPS:] == train[:CROPS]).all()


def test_built_in_pieces_equals_built_in_one_go(tmp_path, folder) -> None:
    build(make_plan(folder), folder, FakeEncoder(), RegionStore(tmp_path / "a"), tmp_path / "one")
    store = tmp_path / "b"
    for train, crops in ((2, 1), (5, 7), (3, 2)):
        build(
            make_plan(folder, train, crops), folder, FakeEncoder(), RegionStore(store), "memory://p"
        )
    encoder = FakeEncoder(batch_size=3)
    counts = build(
        make_plan(folder), folder, encoder, RegionStore(store), tmp_path / "pieces", threads=1
    )
    assert counts.reused > 0
    assert contents(tmp_path / "one") == contents(tmp_path / "pieces")


@pytest.mark.parametrize("after", [1, 9, 17, 30, 40])
def test_an_interrupted_build_resumes(tmp_path, folder, after, monkeypatch) -> None:
    monkeypatch.setattr(building, "CHUNK_VIEWS", 10)
    plan = make_plan(folder)
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "a"), tmp_path / "whole")
    broken = FakeEncoder(fail_after=after)
    with pytest.raises(KeyboardInterrupt):
        build(plan, folder, broken, RegionStore(tmp_path / "b"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    encoder = FakeEncoder()
    counts = build(plan, folder, encoder, RegionStore(tmp_path / "b"), tmp_path / "cache")
    assert counts.reused == sum(broken.batches)
    assert not broken.views & encoder.views
    assert contents(tmp_path / "whole") == contents(tmp_path / "cache")


def test_two_builds_of_one_cache_at_once_are_safe(tmp_path, folder, monkeypatch) -> None:
    monkeypatch.setattr(building, "CHUNK_VIEWS", 4)
    plan = make_plan(folder)
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "a"), tmp_path / "alone")

    def one(_: int) -> building.Counts:
        store = RegionStore(tmp_path / "b")
        return build(plan, folder, FakeEncoder(), store, tmp_path / "together")

    with ThreadPoolExecutor(4) as pool:
        for counts in pool.map(one, range(8)):
            assert counts.encoded + counts.reused == 44
            assert counts.faults == ()
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")


def test_a_damaged_segment_is_encoded_again(tmp_path, folder, monkeypatch) -> None:
    monkeypatch.setattr(building, "CHUNK_VIEWS", 10)
    plan = make_plan(folder)
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    before = contents(tmp_path / "c")
    for number, position in enumerate((50, -1)):  # found when keys, and when features are read
        victim = sorted((tmp_path / "s").glob("*/*.segment"))[number]
        data = bytearray(victim.read_bytes())
        data[position] ^= 1
        victim.write_bytes(data)
        counts = build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
        assert counts.encoded >= 1
        assert counts.encoded + counts.reused == len(plan.regions) + len(plan.test)
        assert any(victim.name in fault for fault in counts.faults)
        assert contents(tmp_path / "c") == before


def test_a_build_tells_only_of_the_damage_that_it_found(tmp_path, folder) -> None:
    plan = make_plan(folder)
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    victim = next((tmp_path / "s").glob("*/*.segment"))
    victim.write_bytes(victim.read_bytes()[:-1])
    store = RegionStore(tmp_path / "s")
    told = [
        build(made, folder, FakeEncoder(), store, tmp_path / "c").faults
        for made in (plan, make_plan(folder, 5, 3), plan)
    ]
    assert [len(faults) for faults in told] == [1, 0, 0]
    assert victim.name in told[0][0]


def test_a_new_student_leaves_the_teacher_alone(tmp_path, folder) -> None:
    plan, store = make_plan(folder), RegionStore(tmp_path / "s")
    build(plan, folder, FakeEncoder("teacher"), store, tmp_path / "teacher")
    before = contents(tmp_path / "teacher")
    for name in ("student a", "student b"):
        counts = build(plan, folder, FakeEncoder(name), store, tmp_path / "student", kind="student")
        assert counts.reused == 0
    assert build(plan, folder, FakeEncoder("teacher"), store, tmp_path / "teacher").encoded == 0
    assert contents(tmp_path / "teacher") == before


def test_everything_works_in_memory(tmp_path, folder) -> None:
    plan = make_plan(folder)
    build(
        plan, folder, FakeEncoder(), RegionStore(f"memory://{tmp_path}/s"), f"memory://{tmp_path}/c"
    )
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    one, other = open_cache(f"memory://{tmp_path}/c"), open_cache(tmp_path / "c")
    assert one.manifest == other.manifest
    assert (one.features("train") == other.features("train")).all()
    assert one.verify() == []


def test_many_shards_follow_one_another(tmp_path, folder, monkeypatch) -> None:
    plan = make_plan(folder)
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "one")
    monkeypatch.setattr(building, "SHARD_BYTES", 7 * 16)
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "many")
    one, many = open_cache(tmp_path / "one"), open_cache(tmp_path / "many")
    assert len(many.manifest.tables["train"].shards) == 6
    for table in ("train", "test"):
        for name, values in one.columns(table).items():
            assert (many.column(table, name) == values).all()


def test_empty_splits_keep_their_columns(tmp_path, folder) -> None:
    plan = make_plan(folder, train=0)
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    assert open_cache(tmp_path / "c").features("train").shape == (0, 8)
    plan = replace(make_plan(folder), test=np.zeros(0, np.int64))
    build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    assert open_cache(tmp_path / "c").features("test").shape == (0, 8)
    assert open_cache(tmp_path / "c").column("test", "image").dtype == np.dtype("<u4")


def test_progress_counts_what_is_to_be_encoded(tmp_path, folder) -> None:
    seen: list[tuple[int, int]] = []
    store = RegionStore(tmp_path / "s")
    for _ in range(2):
        build(
            make_plan(folder),
            folder,
            FakeEncoder(),
            store,
            tmp_path / "c",
            progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(4 * i, 44) for i in range(1, 12)]


def test_a_store_that_loses_what_it_is_given_is_an_error(tmp_path, folder, monkeypatch) -> None:
    def find(self, keys):
        self._store._faults.append("x.segment: damaged shard")
        return np.zeros(len(keys), bool), np.zeros((len(keys), 8))

    monkeypatch.setattr(Lookup, "contains", lambda self, keys: np.zeros(len(keys), bool))
    monkeypatch.setattr(Lookup, "find", find)
    with pytest.raises(UserError, match=r"x\.segment.*check the disk"):
        build(make_plan(folder), folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
