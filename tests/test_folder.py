import shutil
from pathlib import Path

import pytest
from conftest import draw_folder, draw_image
from layouts import shuffled_listing

from fdbpl.data.dataset import Dataset
from fdbpl.data.disk import labelled_images
from fdbpl.data.readers.folder import read_folder
from fdbpl.data.splits import hold_out
from fdbpl.system.errors import UserError


def read(folder: Path) -> Dataset:
    return read_folder("mine", folder, "a photo of a {}.")


def draw_flat(folder: Path, classes: dict[str, int]) -> Path:
    for name, count in classes.items():
        for index in range(count):
            draw_image(folder / name / f"{index:02}.png", index)
    return folder


def test_folders_become_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    draw_folder(tmp_path, {"sea_side": (2, 1), "car": (1, 2)})
    draw_image(tmp_path / "train" / "car" / "deep" / "x.PNG", 1)
    (tmp_path / "train" / "car" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    dataset = read(tmp_path)
    assert dataset.class_names == ("car", "sea side")
    assert dataset.train == (
        ("train/car/00.png", 0),
        ("train/car/deep/x.PNG", 0),
        ("train/sea_side/00.png", 1),
        ("train/sea_side/01.png", 1),
    )
    assert [item.label for item in dataset.test] == [0, 0, 1]
    assert dataset.val == ()
    draw_image(tmp_path / "val" / "sea_side" / "1.png", 1)
    assert read(tmp_path).val == (("val/sea_side/1.png", 1),)


def test_without_splits_images_are_held_out(tmp_path: Path) -> None:
    draw_flat(tmp_path, {"sea_side": 12, "car": 3, "bus": 1})
    dataset = read(tmp_path)
    assert dataset.class_names == ("bus", "car", "sea side")
    items = labelled_images(tmp_path, ["bus", "car", "sea_side"])
    assert (dataset.train, dataset.test, dataset.val) == (*hold_out(items), ())


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        ([], "no class folders in it"),
        (["test"], r"no folder train/\. Wanted train/<class>/"),
        (["train"], "no folder test/"),
        (["train", "test"], "train: no class folders in it"),
        (["train/a", "test/c"], "test/c: a class without training folder"),
        (["Train", "Testing"], "found Testing, Train, which look like splits"),
        (["bus", "car", "train"], r"no folder test/.*no class being called train"),
        (["train/sea_side", "train/sea side", "test/sea side"], "train/sea_side: class name 'sea"),
        (["Car", "car"], r"/car: class name 'car' is the same .* 'Car'"),
        (["_", "car"], "/_: an empty class name"),
    ],
)
def test_folders_that_are_no_dataset_are_named(tmp_path: Path, folders, says: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=says):
        read(tmp_path)


def test_a_folder_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: no such folder.*data\.own\.mine\.folder"):
        read(tmp_path / "gone")


def test_neither_listing_nor_place_decides_what_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = draw_flat(tmp_path / "here", {"ant": 11, "bee": 7})
    shutil.copytree(here, tmp_path / "deep" / "there")
    plain = read(here)
    for seed in range(3):
        with shuffled_listing(monkeypatch, seed):
            moved = read(tmp_path / "deep" / "there")
        assert {**vars(moved), "folder": None} == {**vars(plain), "folder": None}


def test_the_real_scenes(real: Path) -> None:
    dataset = read(real / "folders" / "intel_scenes")
    assert len(dataset.class_names) == 6
    assert (len(dataset.train), len(dataset.test)) == (120, 120)
