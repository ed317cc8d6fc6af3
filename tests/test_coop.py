import json
from pathlib import Path

import pytest
from conftest import draw_image, write_split
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.benchmarks.coop import LAYOUTS, inside, read_coop, read_split, spoken
from fdbpl.benchmarks.dataset import Dataset, Item
from fdbpl.benchmarks.split import base_and_new
from fdbpl.errors import UserError


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
        (["x/../../a.jpg", 1, "a"], "leads outside"),
        (["/etc/a.jpg", 1, "a"], "leads outside"),
        (["", 1, "a"], "leads outside"),
        (["a\0.jpg", 1, "a"], "leads outside"),
        ([1, 1, "a"], "TypeError"),
        (["a.jpg", "0", "a"], "whole number as label"),
        (["a.jpg", 0.0, "a"], "whole number as label"),
        (["a.jpg", True, "a"], "whole number as label"),
        (["a.jpg", [0], "a"], "whole number as label"),
        (["a.jpg", 1, None], "text as class name"),
        (["a.jpg", 1], "not enough values"),
        (["a.jpg", 1, "a", "b"], "too many values"),
        (None, "TypeError"),
        (["a.jpg", 0, "another"], "label 0 is named both 'first' and 'another'"),
        (["a.jpg", 2, "a"], "labels 0 to 2 for 2 classes, wanted 0, 1, 2, ... without gaps"),
        (["a.jpg", -1, "a"], "labels -1 to 0 for 2 classes"),
    ],
)
def test_a_wrong_row_is_one_clear_line(tmp_path: Path, row, says: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, train=[["good.jpg", 0, "first"], row])
    assert str(error.value).startswith(f"{tmp_path / 'split.json'}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"train": [], "val": []}', "3", '"a"', "\xff"])
def test_files_that_are_no_split_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"split\.json: not a split file .* Wanted train, val"):
        read_split("mine", tmp_path, tmp_path / "split.json", "{}")


@given(st.text("ab./\\ ", max_size=12))
def test_a_path_inside_stays_inside(path: str) -> None:
    try:
        kept = inside(path)
    except ValueError:
        return
    root = Path("/data/images")
    assert (root / kept).resolve().is_relative_to(root.resolve())
    assert inside(kept) == kept


@given(st.text("ab_ ", max_size=9))
def test_spoken_names_are_single_spaced(name: str) -> None:
    assert "_" not in spoken(name)
    assert spoken(name) == spoken(spoken(name)) == " ".join(spoken(name).split())


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dtd: no such folder.*data\.root"):
        read_coop("dtd", tmp_path)
    (tmp_path / "dtd").mkdir()
    with pytest.raises(UserError, match=r"split_zhou_DescribableTextures\.json: no such file"):
        read_coop("dtd", tmp_path)
    write_split(tmp_path / "dtd" / "split_zhou_DescribableTextures.json", train=[["a.png", 0, "a"]])
    with pytest.raises(UserError, match="images: no such folder"):
        read_coop("dtd", tmp_path)
    draw_image(tmp_path / "dtd" / "images" / "a.png", 0)
    assert read_coop("dtd", tmp_path).template == "{} texture."


WHOLE = {  # METHOD: classes base and new; images for training, test of base, test of new
    "caltech-101": ("Caltech101", (50, 50), (4128, 1549, 916)),
    "oxford_pets": ("OxfordPets", (19, 18), (2944, 1881, 1788)),
    "stanford_cars": ("StanfordCars", (98, 98), (6509, 4002, 4039)),
    "oxford_flowers": ("OxfordFlowers", (51, 51), (4093, 1053, 1410)),
    "dtd": ("DescribableTextures", (24, 23), (2820, 864, 828)),
    "eurosat": ("EuroSAT", (5, 5), (13500, 4200, 3900)),
    "ucf101": ("UCF101", (51, 50), (7639, 1934, 1849)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_split_files_have_the_published_counts(name: str, real: Path) -> None:
    title, classes, images = WHOLE[name]
    split = real / "splits" / f"split_zhou_{title}.json"
    assert LAYOUTS[name].split == split.name
    dataset = read_split(name, real, split, LAYOUTS[name].template)
    base, new = base_and_new(dataset.train)
    assert (len(base), len(new)) == classes
    tested = [sum(item.label in half for item in dataset.test) for half in (base, new)]
    assert (len(dataset.train), *tested) == images
    assert len(set(dataset.class_names)) == sum(classes)
    rows = json.loads(split.read_text())
    assert [len(rows[part]) for part in ("train", "val", "test")] == [
        len(part) for part in (dataset.train, dataset.val, dataset.test)
    ]


@pytest.mark.parametrize(("name", "classes"), [("caltech-101", 100), ("dtd", 10)])
def test_the_real_photographs_are_where_the_layout_says(name, classes, real: Path) -> None:
    dataset = read_coop(name, real)
    assert len(dataset.class_names) == classes
    assert all((dataset.folder / item.path).is_file() for item in dataset.train + dataset.test)


def test_the_layouts_are_the_fields_own() -> None:
    assert all(layout.template.count("{}") == 1 for layout in LAYOUTS.values())
    assert LAYOUTS["food-101"].template == "a photo of {}, a type of food."
    assert LAYOUTS["stanford_cars"].template == "a photo of a {}."
