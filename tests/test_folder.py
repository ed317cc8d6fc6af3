import shutil
from pathlib import Path

import pytest
from conftest import draw_folder, draw_image
from layouts import shuffled_listing

from fdbpl.data.dataset import Item
from fdbpl.data.disk import images_below
from fdbpl.data.readers.folder import read_folder
from fdbpl.data.splits import hold_out
from fdbpl.system.errors import UserError

TEMPLATE = "a photo of a {}."


def test_folders_become_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"sea_side": (2, 1), "car": (1, 2)})
    draw_image(tmp_path / "train" / "car" / "deep" / "x.PNG", 1)
    (tmp_path / "train" / "car" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    dataset = read_folder("mine", tmp_path, TEMPLATE)
    assert dataset.class_names == ("car", "sea side")
    assert dataset.train == (
        ("train/car/00.png", 0),
        ("train/car/deep/x.PNG", 0),
        ("train/sea_side/00.png", 1),
        ("train/sea_side/01.png", 1),
    )
    assert [item.label for item in dataset.test] == [0, 0, 1]
    assert dataset.val == ()


def test_a_validation_split_is_read_where_there_is_one(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"a": (1, 1), "b": (1, 1)})
    draw_image(tmp_path / "val" / "b" / "1.png", 1)
    assert read_folder("mine", tmp_path, TEMPLATE).val == (("val/b/1.png", 1),)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: no such folder.*data\.own\.mine\.folder"):
        read_folder("mine", tmp_path / "gone", TEMPLATE)
    with pytest.raises(UserError, match="no class folders in it"):
        read_folder("mine", tmp_path, TEMPLATE)
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match=r"no folder train/\. Wanted train/<class>/"):
        read_folder("mine", tmp_path, TEMPLATE)
    (tmp_path / "test").rmdir()
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="no folder test/"):
        read_folder("mine", tmp_path, TEMPLATE)
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="train: no class folders in it"):
        read_folder("mine", tmp_path, TEMPLATE)


def test_a_test_class_that_training_does_not_know(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"a": (1, 1), "b": (1, 1)})
    (tmp_path / "test" / "c").mkdir()
    with pytest.raises(UserError, match="test/c: a class without training folder"):
        read_folder("mine", tmp_path, TEMPLATE)


def test_the_real_scenes(real: Path) -> None:
    dataset = read_folder("scenes", real / "folders" / "intel_scenes", TEMPLATE)
    assert len(dataset.class_names) == 6
    assert (len(dataset.train), len(dataset.test)) == (120, 120)


def draw_flat(folder: Path, classes: dict[str, int]) -> Path:
    for name, count in classes.items():
        for index in range(count):
            draw_image(folder / name / f"{index:02}.png", index)
    return folder


def test_without_splits_images_are_held_out(tmp_path: Path) -> None:
    draw_flat(tmp_path, {"sea_side": 12, "car": 3, "bus": 1})
    dataset = read_folder("mine", tmp_path, TEMPLATE)
    assert dataset.class_names == ("bus", "car", "sea side")
    items = [
        Item(path, label)
        for label, c in enumerate(["bus", "car", "sea_side"])
        for path in images_below(tmp_path, c)
    ]
    assert (dataset.train, dataset.test) == hold_out(items)
    assert dataset.val == ()


def test_splits_called_otherwise_are_no_classes(tmp_path: Path) -> None:
    draw_flat(tmp_path, {"Train": 2, "Testing": 2})
    with pytest.raises(UserError, match="found Testing, Train, which look like splits"):
        read_folder("mine", tmp_path, TEMPLATE)


def test_a_class_called_train_is_told_from_a_split(tmp_path: Path) -> None:
    draw_flat(tmp_path, {"bus": 2, "car": 2, "train": 2})
    with pytest.raises(UserError, match=r"no folder test/.*no class being called train"):
        read_folder("mine", tmp_path, TEMPLATE)


def test_class_names_that_are_the_same_to_clip(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"sea_side": (1, 1), "sea side": (1, 1)})
    with pytest.raises(UserError, match="train/sea_side: class name 'sea side' is the same"):
        read_folder("mine", tmp_path, TEMPLATE)
    draw_flat(tmp_path / "flat", {"Car": 2, "car": 2})
    with pytest.raises(UserError, match=r"flat/car: class name 'car' is the same .* 'Car'"):
        read_folder("mine", tmp_path / "flat", TEMPLATE)
    draw_flat(tmp_path / "nameless", {"_": 2, "car": 2})
    with pytest.raises(UserError, match="nameless/_: an empty class name"):
        read_folder("mine", tmp_path / "nameless", TEMPLATE)


def test_neither_listing_nor_place_decides_what_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = draw_flat(tmp_path / "here", {"ant": 11, "bee": 7})
    shutil.copytree(here, tmp_path / "deep" / "there")
    plain = read_folder("mine", here, TEMPLATE)
    for seed in range(3):
        with shuffled_listing(monkeypatch, seed):
            moved = read_folder("mine", tmp_path / "deep" / "there", TEMPLATE)
        assert {**vars(moved), "folder": None} == {**vars(plain), "folder": None}
