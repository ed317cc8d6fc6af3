from pathlib import Path

import pytest
from conftest import draw_folder

from fdbpl.data.check import look_at
from fdbpl.data.dataset import Dataset, Item
from fdbpl.data.images import read_image
from fdbpl.data.readers.folder import read_folder


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    draw_folder(tmp_path, {"ant": (3, 2), "bee": (3, 2)})
    return read_folder("mine", tmp_path, "{}.")


def test_whole_images_have_their_content_hash(dataset: Dataset) -> None:
    look = look_at(dataset)
    assert list(look.hashes) == sorted(item.path for item in dataset.train + dataset.test)
    assert all(read_image(dataset.folder / path)[0] == h for path, h in look.hashes.items())
    assert look.missing == ()
    assert look.unreadable == {}


def test_each_fault_is_told_once_without_the_folder(dataset: Dataset) -> None:
    folder = dataset.folder
    (folder / "train/ant/00.png").write_bytes(b"")
    (folder / "train/ant/01.png").write_bytes(b"<html>")
    (folder / "test/bee/00.png").unlink()
    (folder / "test/bee/01.png").unlink()
    (folder / "test/bee/01.png").symlink_to(folder / "gone")
    twice = Dataset(**{**vars(dataset), "val": (*dataset.train, Item("val/x.png", 0))})
    look = look_at(twice)
    assert look.missing == ("test/bee/00.png", "val/x.png")
    assert list(look.unreadable) == ["test/bee/01.png", "train/ant/00.png", "train/ant/01.png"]
    assert "an empty file" in look.unreadable["train/ant/00.png"]
    assert "no image of a known format" in look.unreadable["train/ant/01.png"]
    assert "a link to nothing" in look.unreadable["test/bee/01.png"]
    assert str(folder) not in "".join(look.unreadable.values())
    assert len(look.hashes) == 6


def test_every_image_is_reported(dataset: Dataset) -> None:
    reports: list[tuple[int, int]] = []
    look_at(dataset, lambda done, total: reports.append((done, total)))
    assert reports == [(done, 10) for done in range(1, 11)]


def test_nothing_to_look_at(tmp_path: Path) -> None:
    look = look_at(Dataset("x", tmp_path, ("a", "b"), "{}", (), (), ()))
    assert (look.hashes, look.missing, look.unreadable) == ({}, (), {})
