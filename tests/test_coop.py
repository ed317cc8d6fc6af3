import json
from pathlib import Path

import pytest
from conftest import draw_image, write_split

from fdbpl.data.check import count
from fdbpl.data.dataset import Dataset, Item
from fdbpl.data.published import PUBLISHED
from fdbpl.data.readers.coop import LAYOUTS, read_split
from fdbpl.data.splits import base_and_new
from fdbpl.system.errors import UserError


def read(folder: Path, **parts: list) -> Dataset:
    split = write_split(folder / "split.json", **parts)
    return read_split("mine", folder, split, "a photo of a {}.")


def test_a_split_file_becomes_items_and_names(tmp_path: Path) -> None:
    dataset = read(
        tmp_path,
        train=[["b/1.jpg", 1, "sea_side"], ["a/1.jpg", 0, "car"]],
        val=[["a/2.jpg", 0, "car"]],
        test=[["b/./2.jpg", 1, "sea_side"]],
    )
    assert dataset.class_names == ("car", "sea side")
    assert dataset.train == (Item("b/1.jpg", 1), Item("a/1.jpg", 0))
    assert dataset.val == (Item("a/2.jpg", 0),)
    assert dataset.test == (Item("b/2.jpg", 1),)
    assert dataset.folder == tmp_path


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (["../a.jpg", 1, "a"], "leads outside"),
        (["link.jpg", 1, "a"], "leads outside"),
        (["out/a.jpg", 1, "a"], "leads outside"),
        (["a\ud800.jpg", 1, "a"], "is no UTF-8"),
        ([1, 1, "a"], "path 1 is no text"),
        (["a.jpg", 0.0, "a"], "whole number as label"),
        (["a.jpg", True, "a"], "whole number as label"),
        (["a.jpg", 1, None], "text as class name"),
        (["a.jpg", 1], "found ['a.jpg', 1]"),
        (["a.jpg", 1, "a", "b"], "found ['a.jpg', 1, 'a', 'b']"),
        (None, "found None"),
        (["a.jpg", 0, "another"], "label 0 is named both 'first' and 'another'"),
    ],
)
def test_a_wrong_row_is_one_clear_line(tmp_path: Path, row, says: str) -> None:
    (tmp_path / "link.jpg").symlink_to("/etc/hostname")
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(UserError) as error:
        read(tmp_path, val=[["good.jpg", 0, "first"], row])
    assert str(error.value).startswith(f"{tmp_path / 'split.json'}, entry 1 of val: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", [2, -1])
def test_labels_have_no_gaps(tmp_path: Path, label: int) -> None:
    with pytest.raises(UserError, match=r"split\.json: labels .* for 2 classes, wanted 0, 1, 2"):
        read(tmp_path, train=[["a.jpg", 0, "first"], ["b.jpg", label, "second"]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "3",
        '{"train": [], "val": []}',
        '{"train": {}, "val": [], "test": []}',
        9999 * "[",
    ],
)
def test_files_that_are_no_split_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(UserError, match=r"split\.json: not a split file .* Wanted train, val"):
        read_split("mine", tmp_path, tmp_path / "split.json", "{}")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dtd: no such folder.*data\.root"):
        LAYOUTS["dtd"].read("dtd", tmp_path)
    (tmp_path / "dtd").mkdir()
    with pytest.raises(UserError, match=r"split_zhou_DescribableTextures\.json: No such file"):
        LAYOUTS["dtd"].read("dtd", tmp_path)
    write_split(tmp_path / "dtd" / "split_zhou_DescribableTextures.json", train=[["a.png", 0, "a"]])
    with pytest.raises(UserError, match="images: no such folder"):
        LAYOUTS["dtd"].read("dtd", tmp_path)
    draw_image(tmp_path / "dtd" / "images" / "a.png", 0)
    assert LAYOUTS["dtd"].read("dtd", tmp_path).template == "{} texture."


@pytest.mark.parametrize("name", sorted(set(LAYOUTS) - {"food-101", "sun397"}))
def test_the_whole_split_files_have_the_published_counts(name: str, real: Path) -> None:
    split = real / "splits" / LAYOUTS[name].lists
    dataset = read_split(name, real, split, LAYOUTS[name].template)
    found = {kind: count(dataset)[kind] for kind in PUBLISHED[name]}
    assert found == PUBLISHED[name]
    assert len(set(dataset.class_names)) == len(dataset.class_names)
    rows = json.loads(split.read_text())
    assert [len(rows[part]) for part in ("train", "val", "test")] == [
        len(part) for part in (dataset.train, dataset.val, dataset.test)
    ]
    base, new = base_and_new(dataset.train)
    assert base + new == tuple(range(len(dataset.class_names)))


@pytest.mark.parametrize(("name", "classes"), [("caltech-101", 100), ("dtd", 10)])
def test_the_real_photographs_are_where_the_layout_says(name, classes, real: Path) -> None:
    dataset = LAYOUTS[name].read(name, real)
    assert len(dataset.class_names) == classes
    assert all((dataset.folder / item.path).is_file() for item in dataset.train + dataset.test)
