"""What holds for every one of the fifteen layouts."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from layouts import NAMES, draw_layout, shuffled_listing

from fdbpl.data.dataset import Dataset
from fdbpl.data.params import DataParams
from fdbpl.data.published import PUBLISHED
from fdbpl.data.readers.coop import LAYOUTS as SPLIT_FILES
from fdbpl.data.registry import LAYOUTS, SHIFTED, open_dataset
from fdbpl.data.splits import base_and_new, draw_order
from fdbpl.playground import datasets as playground
from fdbpl.regions.params import RegionParams
from fdbpl.regions.planning import make_plan
from fdbpl.system.errors import UserError

TEMPLATES = {
    "oxford_pets": "a photo of a {}, a type of pet.",
    "oxford_flowers": "a photo of a {}, a type of flower.",
    "fgvc_aircraft": "a photo of a {}, a type of aircraft.",
    "dtd": "{} texture.",
    "eurosat": "a centered satellite photo of {}.",
    "food-101": "a photo of {}, a type of food.",
    "ucf101": "a photo of a person doing {}.",
}
BY_LISTING = sorted(set(NAMES) - set(SPLIT_FILES))


def opened(name: str, root: Path) -> Dataset:
    return open_dataset(name, DataParams(root=str(root)))


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_in_the_fields_layout_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    drawn = draw_layout(name, tmp_path)
    dataset = opened(name, tmp_path)
    assert dataset.class_names == drawn.class_names
    assert dataset.template == TEMPLATES.get(name, "a photo of a {}.")
    for part, images in drawn.images.items():
        items = getattr(dataset, part)
        assert Counter(item.label for item in items) == images
        assert all((dataset.folder / item.path).is_file() for item in items)
        assert len({item.path for item in items}) == len(items)


@pytest.mark.parametrize("name", NAMES)
def test_neither_listing_nor_place_decides_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_layout(name, tmp_path / "here")
    here = opened(name, tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "deep" / "there")
    for seed in range(3):
        with shuffled_listing(monkeypatch, seed):
            there = opened(name, tmp_path / "deep" / "there")
        assert {**vars(there), "folder": None} == {**vars(here), "folder": None}
        assert draw_order(there.train, seed) == draw_order(here.train, seed)
        assert base_and_new(there.train) == base_and_new(here.train)


def test_the_shuffle_of_these_tests_does_shuffle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(20):
        (tmp_path / f"{index:02}").touch()
    orders = set()
    for seed in range(3):
        with shuffled_listing(monkeypatch, seed):
            orders.add(tuple(entry.name for entry in os.scandir(tmp_path)))
            (walked,) = [files for _, _, files in os.walk(tmp_path)]
            orders.add(tuple(walked))
    assert len(orders) == 6


@pytest.mark.parametrize("name", ["imagenet", "fgvc_aircraft", "sun397"])
def test_equal_files_give_equal_plans_wherever_they_lie(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(root: Path) -> str:
        found = opened(name, root)
        return make_plan(found, regions=RegionParams(per_image=2), shots=2, seeds=[1, 2]).digest

    draw_layout(name, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "c")
    with shuffled_listing(monkeypatch, 1):
        moved = plan(tmp_path / "b" / "c")
    assert moved == plan(tmp_path / "a")


def test_fifteen_layouts_four_of_them_shifted_versions_of_imagenet() -> None:
    assert len(NAMES) == 15
    assert set(PUBLISHED) == set(NAMES) <= set(LAYOUTS)
    assert len(SHIFTED["imagenet"]) == 4
    assert SHIFTED["objects"] == playground.SHIFTED


@pytest.mark.parametrize("name", BY_LISTING)
def test_files_that_systems_add_are_no_images(name: str, tmp_path: Path) -> None:
    draw_layout(name, tmp_path)
    before = opened(name, tmp_path)
    folders = [folder for folder in (tmp_path / name).rglob("*") if folder.is_dir()]
    for folder in folders:
        for extra in (".DS_Store", "._a.JPEG", "Thumbs.db", "list.txt"):
            (folder / extra).write_bytes(b"x")
        (folder / ".cache").mkdir()
    assert opened(name, tmp_path) == before


@pytest.mark.parametrize("name", NAMES)
def test_each_missing_part_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{name}: no such folder.*data\.root"):
        opened(name, tmp_path)
    draw_layout(name, tmp_path)
    whole = tmp_path / name
    for part in sorted(whole.iterdir()):
        aside = tmp_path / "aside"
        part.rename(aside)
        if name == "stanford_cars" and aside.is_dir():
            opened(name, tmp_path)  # its images lie in the dataset's folder itself
        else:
            with pytest.raises(UserError) as error:
                opened(name, tmp_path)
            assert str(error.value).startswith(str(part))
            assert "\n" not in str(error.value)
        aside.rename(part)


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_lists_every_layout(name: str, tmp_path: Path) -> None:
    draw_layout(name, tmp_path)
    text = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
    assert row.endswith(f"| {opened(name, tmp_path).template} |")
    lists = [path.name for path in (tmp_path / name).iterdir() if path.is_file()]
    assert all(f"`{file}`" in row for file in lists)
