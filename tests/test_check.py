from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_folder
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data import published
from fdbpl.data.check import Check, Look, check, count, look_at
from fdbpl.data.dataset import UNKNOWN, Dataset, Item
from fdbpl.data.images import read_image
from fdbpl.data.readers.folder import read_folder
from fdbpl.settings.params import SHOTS

NAMES = ("ant", "bee", "cat")


def dataset(**parts: Any) -> Dataset:
    whole = {
        "train": tuple(Item(f"train/{label}/{i}", label) for label in range(3) for i in range(16)),
        "val": (),
        "test": tuple(Item(f"test/{label}/{i}", label) for label in range(3) for i in range(2)),
    }
    return Dataset("mine", Path("/data/mine"), NAMES, "{}.", **{**whole, **parts})


def look(found: Dataset, **changes: Any) -> Look:
    paths = [item.path for item in (*found.train, *found.val, *found.test)]
    faults = {**dict.fromkeys(changes.get("missing", ())), **changes.get("unreadable", {})}
    hashes = {path: path.encode() for path in paths if path not in faults}
    return Look(
        {**hashes, **changes.get("hashes", {})},
        tuple(changes.get("missing", ())),
        changes.get("unreadable", {}),
    )


def judged(found: Dataset, wanted: dict[str, int] | None = None, **changes: Any) -> Check:
    return check(found, look(found, **changes), wanted or {}, shots=SHOTS)


def test_a_whole_dataset_is_sound() -> None:
    checked = judged(dataset(), count(dataset()))
    assert checked.is_sound
    assert checked.lines()[-1] == "no problem found"
    assert count(dataset()) == {
        "classes": 3,
        "base classes": 2,
        "new classes": 1,
        "training images": 48,
        "test images": 6,
        "test images, base": 4,
        "test images, new": 2,
    }


def test_each_kind_of_problem_is_found_alone() -> None:
    whole = dataset()
    few = tuple(item for item in whole.train if item.path not in ("train/1/3", "train/1/4"))
    untested = tuple(item for item in whole.test if item.label != 2)
    twin = {"test/2/1": b"train/0/5"}
    found = {
        "missing": judged(whole, missing=["test/0/1"]),
        "unreadable": judged(whole, unreadable={"test/0/1": "cut"}),
        "twins": judged(whole, hashes=twin),
        "few": judged(dataset(train=few)),
        "untested": judged(dataset(test=untested)),
        "counts": judged(whole, {**count(whole), published.TRAIN: 1049}),
    }
    assert {name: checked.problems for name, checked in found.items()} == {
        "missing": {"images missing": ("test/0/1",)},
        "unreadable": {"images that do not decode": ("test/0/1: cut",)},
        "twins": {"test images that are training images too": ("test/2/1 is train/0/5",)},
        "few": {"classes with fewer than 16 training images": ("bee: 14",)},
        "untested": {"classes without a test image": ("cat",)},
        "counts": {"counts other than published": ("training images: 48, published 1,049",)},
    }


@given(st.integers(0, 20))
def test_only_images_that_decode_count_as_shots(spoilt: int) -> None:
    train = tuple(Item(f"train/{label}/{i}", label) for label in range(3) for i in range(20))
    bad = {f"train/0/{i}": "cut" for i in range(spoilt)}
    few = "classes with fewer than 16 training images"
    found = judged(dataset(train=train), unreadable=bad).problems.get(few, ())
    assert found == ((f"ant: {20 - spoilt}",) if 20 - spoilt < SHOTS else ())


def test_a_shifted_version_is_judged_by_its_test_images_alone() -> None:
    shifted = dataset(train=())
    assert count(shifted) == {"classes": 3, "training images": 0, "test images": 6}
    assert judged(shifted, {published.CLASSES: 3, published.TRAIN: 0, published.TEST: 6}).is_sound


def test_classes_learned_and_tested_by_nothing_are_named() -> None:
    assert judged(dataset(test=())).problems == {"classes without a test image": NAMES}


def test_images_without_class_have_no_halves_and_are_not_few() -> None:
    bare = dataset(train=(Item("1", UNKNOWN), Item("2", UNKNOWN)), test=())
    checked = judged(bare)
    assert checked.is_sound
    assert count(bare) == {
        "classes": 3,
        "training images": 2,
        "training images without class": 2,
        "test images": 0,
    }


def test_the_report_is_read_at_a_glance() -> None:
    whole = dataset()
    bad = {item.path: "cut" for item in whole.train[:5]}
    wanted = {published.CLASSES: 3, published.TRAIN: 1048}
    checked = check(
        whole, look(whole, unreadable=bad), wanted, {".heic": 1200, ".txt": 1}, shots=16
    )
    assert checked.lines() == [
        "mine: /data/mine",
        "                          found   published",
        "  classes                     3           3",
        "  base classes                2           -",
        "  new classes                 1           -",
        "  training images            48       1,048",
        "  test images                 6           -",
        "  test images, base           4           -",
        "  test images, new            2           -",
        "base-to-new: a single class in a half, so nothing can be told from it",
        "files that are no images: 1,200 .heic, 1 .txt",
        "counts other than published: 1",
        "  training images: 48, published 1,048",
        "images that do not decode: 5",
        "  train/0/0: cut",
        "  train/0/1: cut",
        "  train/0/2: cut",
        "  and 2 more (--all names them)",
        "classes with fewer than 16 training images: 1",
        "  ant: 11",
        "problems found",
    ]
    assert checked.lines(None)[-8:-3] == [f"  train/0/{number}: cut" for number in range(5)]


@pytest.mark.parametrize("shots", [1, 11, 12, 48])
def test_a_class_needs_as_many_images_as_there_are_shots(shots: int) -> None:
    whole = dataset()
    bad = {item.path: "cut" for item in whole.train[:5]}
    checked = check(whole, look(whole, unreadable=bad), {}, shots=shots)
    few = checked.problems.get(f"classes with fewer than {shots} training images", ())
    counts = {"ant": 11, "bee": 16, "cat": 16}
    assert few == tuple(f"{name}: {count}" for name, count in counts.items() if count < shots)


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    draw_folder(tmp_path, {"ant": (3, 2), "bee": (3, 2)})
    return read_folder("mine", tmp_path, "{}.")


def test_every_image_is_looked_at_once_and_reported(photos: Dataset) -> None:
    reports: list[tuple[int, int]] = []
    seen = look_at(photos, lambda done, total: reports.append((done, total)))
    assert list(seen.hashes) == sorted(item.path for item in photos.train + photos.test)
    assert all(read_image(photos.folder / path)[0] == h for path, h in seen.hashes.items())
    assert (seen.missing, seen.unreadable) == ((), {})
    assert reports == [(done, 10) for done in range(1, 11)]
    nothing = look_at(Dataset("x", photos.folder, ("a", "b"), "{}", (), (), ()))
    assert (nothing.hashes, nothing.missing, nothing.unreadable) == ({}, (), {})


def test_each_fault_is_told_once_without_the_folder(photos: Dataset) -> None:
    folder = photos.folder
    (folder / "train/ant/00.png").write_bytes(b"")
    (folder / "train/ant/01.png").write_bytes(b"<html>")
    (folder / "test/bee/00.png").unlink()
    (folder / "test/bee/01.png").unlink()
    (folder / "test/bee/01.png").symlink_to(folder / "gone")
    seen = look_at(replace(photos, val=(*photos.train, Item("val/x.png", 0))))
    assert seen.missing == ("test/bee/00.png", "val/x.png")
    assert list(seen.unreadable) == ["test/bee/01.png", "train/ant/00.png", "train/ant/01.png"]
    for path, why in zip(seen.unreadable, ("link to nothing", "empty", "no image"), strict=True):
        assert why in seen.unreadable[path]
        assert str(folder) not in seen.unreadable[path]
    assert len(seen.hashes) == 6


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_the_published_counts_agree_with_themselves(name: str) -> None:
    counts = published.PUBLISHED[name]
    if published.BASE in counts:
        base, new = counts[published.BASE], counts[published.NEW]
        assert base + new == counts[published.CLASSES]
        assert base - new in (0, 1)
        assert counts[published.TEST_BASE] + counts[published.TEST_NEW] == counts[published.TEST]
        assert counts[published.TRAIN] >= SHOTS * counts[published.CLASSES]
    else:
        assert counts[published.TRAIN] == 0


def test_the_published_counts_are_the_fields() -> None:
    rows = {  # classes; training images, test images of base and of new
        "imagenet": ((1000, 500, 500), (1281167, 25000, 25000)),
        "food-101": ((101, 51, 50), (50500, 15300, 15000)),
        "fgvc_aircraft": ((100, 50, 50), (3334, 1666, 1667)),
        "sun397": ((397, 199, 198), (15880, 9950, 9900)),
    }  # the other seven are compared with their own split files
    for name, (classes, images) in rows.items():
        counts = published.PUBLISHED[name]
        kinds = (published.CLASSES, published.BASE, published.NEW)
        assert tuple(counts[kind] for kind in kinds) == classes
        kinds = (published.TRAIN, published.TEST_BASE, published.TEST_NEW)
        assert tuple(counts[kind] for kind in kinds) == images
    tests = [("imagenetv2", 10000), ("imagenet-sketch", 50889)]
    tests += [("imagenet-adversarial", 7500), ("imagenet-rendition", 30000)]
    assert all(published.PUBLISHED[name][published.TEST] == test for name, test in tests)
