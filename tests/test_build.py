"""A cache built from a plan: every view once, in canonical order, whatever interrupted it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import CROPS, FakeEncoder, Lab, plain_features

from fdbpl.cache import build as building
from fdbpl.cache import region_features
from fdbpl.cache.store import Lookup, RegionStore
from fdbpl.regions.boxes import REGION
from fdbpl.system.errors import UserError

VIEWS = 8 * CROPS + 4


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.mark.parametrize("payload", ["float16", "float32"])
def test_the_cache_holds_every_view_in_canonical_order(lab: Lab, payload) -> None:
    plan = lab.plan()
    text = {"generic": np.eye(3, 8, dtype=np.float32), "dataset": np.ones((2, 3, 8), np.float32)}
    counts = lab.build(plan, payload=payload, text=text)
    assert (counts.encoded, counts.reused, counts.faults) == (VIEWS, 0, ())
    cache = lab.open()
    train, test = plain_features(plan, lab.folder, FakeEncoder())
    assert cache.features("train").dtype == np.dtype(payload)
    assert (cache.features("train") == train.astype(payload)).all()
    assert (cache.features("test") == test.astype(payload)).all()
    for name in REGION.names:
        assert (cache.column("train", name) == plan.regions[name]).all()
    assert (cache.column("test", "image") == plan.test).all()
    for name, values in text.items():
        assert (cache.text(name) == values).all()
    keys = np.concatenate([cache.column("train", "key"), cache.column("test", "key")])
    assert len(np.unique(keys, axis=0)) == len(keys)
    assert cache.verify() == []


def test_regions_without_a_cache_have_the_features_that_a_cache_would_hold(lab: Lab) -> None:
    plan, store, encoder = lab.plan(), RegionStore(lab.root / "s"), FakeEncoder()
    features, counts = region_features(plan, lab.folder, encoder, store)
    assert (counts.encoded, counts.reused) == (8 * CROPS, 0)  # test views are not asked for
    counts = lab.build(plan, encoder, store=store)
    assert (counts.encoded, counts.reused) == (4, 8 * CROPS)
    assert (features == lab.open().features("train")).all()
    assert region_features(plan, lab.folder, encoder, store)[1].encoded == 0


def test_equal_images_are_encoded_once(lab: Lab) -> None:
    (lab.folder / "99.png").write_bytes((lab.folder / "00.png").read_bytes())
    (lab.folder / "98.png").write_bytes((lab.folder / "09.png").read_bytes())
    encoder, plan = FakeEncoder(), lab.plan()
    plan = replace(plan, regions=np.concatenate([plan.regions, plan.regions[:CROPS]]))
    plan.regions["image"][-CROPS:] = 13
    counts = lab.build(plan, encoder)
    assert counts.encoded == VIEWS + 1  # image 99 in the test split is seen anew
    assert counts.reused == 0
    assert set(encoder.views.values()) == {1}
    train = lab.open().features("train")
    assert (train[-CROPS:] == train[:CROPS]).all()


def test_built_in_pieces_equals_built_in_one_go(lab: Lab) -> None:
    lab.build(store="a", cache="one")
    for train, crops in ((2, 1), (5, 7), (3, 2)):
        lab.build(lab.plan(train, crops), store="b", cache="part")
    counts = lab.build(encoder=FakeEncoder(batch_size=3), store="b", cache="pieces", threads=1)
    assert counts.reused > 0
    assert lab.contents("one") == lab.contents("pieces")


@pytest.mark.parametrize("after", [1, 9, 17, 30, 40])
def test_an_interrupted_build_resumes(lab: Lab, after: int, monkeypatch) -> None:
    monkeypatch.setattr(building, "CHUNK_VIEWS", 10)
    lab.build(store="a", cache="whole")
    broken, encoder = FakeEncoder(fail_after=after), FakeEncoder()
    with pytest.raises(KeyboardInterrupt):
        lab.build(encoder=broken)
    assert not (lab.root / "c").exists()
    counts = lab.build(encoder=encoder)
    assert counts.reused == sum(broken.batches)
    assert not broken.views & encoder.views
    assert lab.contents("whole") == lab.contents()


def damage(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_damaged_segment_is_encoded_again(lab: Lab, monkeypatch) -> None:
    monkeypatch.setattr(building, "CHUNK_VIEWS", 10)
    lab.build()
    before = lab.contents()
    for number, position in enumerate((50, -1)):  # found when keys, and when features are read
        victim = sorted(lab.root.glob("s/*/*.segment"))[number]
        damage(victim, position)
        counts = lab.build()
        assert counts.encoded >= 1
        assert counts.encoded + counts.reused == VIEWS
        assert any(victim.name in fault for fault in counts.faults)
        assert lab.contents() == before
        assert (lab.build().encoded, lab.build().faults) == (0, ())


def test_a_build_tells_only_of_the_damage_that_it_found(lab: Lab) -> None:
    lab.build()
    victim = next(lab.root.glob("s/*/*.segment"))
    damage(victim, -1)
    store, plans = RegionStore(lab.root / "s"), (lab.plan(), lab.plan(5, 3), lab.plan())
    told = [lab.build(plan, store=store).faults for plan in plans]
    assert [len(faults) for faults in told] == [1, 0, 0]
    assert victim.name in told[0][0]


def test_many_shards_follow_one_another(lab: Lab, monkeypatch) -> None:
    lab.build(cache="one")
    monkeypatch.setattr(building, "SHARD_BYTES", 7 * 16)
    lab.build(cache="many")
    one, many = lab.open("one"), lab.open("many")
    assert len(many.manifest.tables["train"].shards) == 6
    for table in ("train", "test"):
        for name, values in one.columns(table).items():
            assert (many.column(table, name) == values).all()


def test_empty_splits_keep_their_columns(lab: Lab) -> None:
    lab.build(lab.plan(train=0))
    assert lab.open().features("train").shape == (0, 8)
    lab.build(replace(lab.plan(), test=np.zeros(0, np.int64)))
    assert lab.open().features("test").shape == (0, 8)
    assert lab.open().column("test", "image").dtype == np.dtype("<u4")


def test_progress_counts_what_is_to_be_encoded(lab: Lab) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        lab.build(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4 * i, VIEWS) for i in range(1, 12)]


def test_a_store_that_loses_what_it_is_given_is_an_error(lab: Lab, monkeypatch) -> None:
    def find(self, keys):
        self._segments._faults.append("x.segment: damaged shard")
        return np.zeros(len(keys), bool), np.zeros((len(keys), 8))

    monkeypatch.setattr(Lookup, "contains", lambda self, keys: np.zeros(len(keys), bool))
    monkeypatch.setattr(Lookup, "find", find)
    with pytest.raises(UserError, match=r"x\.segment.*check the disk"):
        lab.build()
