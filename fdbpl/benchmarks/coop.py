"""Datasets in CoOp's layout: an image folder and a split file, as the field has them on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from fdbpl.benchmarks.dataset import GENERIC_TEMPLATE, Dataset, Item
from fdbpl.errors import UserError


@dataclass(frozen=True)
class Layout:
    """Where a dataset lies below the data root, and the template of its zero-shot prompts."""

    folder: str
    images: str
    split: str
    template: str = GENERIC_TEMPLATE


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "caltech-101": Layout("caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json"),
        "oxford_pets": Layout(
            "oxford_pets",
            "images",
            "split_zhou_OxfordPets.json",
            "a photo of a {}, a type of pet.",
        ),
        "stanford_cars": Layout("stanford_cars", "", "split_zhou_StanfordCars.json"),
        "oxford_flowers": Layout(
            "oxford_flowers",
            "jpg",
            "split_zhou_OxfordFlowers.json",
            "a photo of a {}, a type of flower.",
        ),
        "food-101": Layout(
            "food-101",
            "images",
            "split_zhou_Food101.json",
            "a photo of {}, a type of food.",
        ),
        "sun397": Layout("sun397", "SUN397", "split_zhou_SUN397.json"),
        "dtd": Layout("dtd", "images", "split_zhou_DescribableTextures.json", "{} texture."),
        "eurosat": Layout(
            "eurosat", "2750", "split_zhou_EuroSAT.json", "a centered satellite photo of {}."
        ),
        "ucf101": Layout(
            "ucf101",
            "UCF-101-midframes",
            "split_zhou_UCF101.json",
            "a photo of a person doing {}.",
        ),
    }
)


def read_coop(name: str, root: Path) -> Dataset:
    """Read one of `LAYOUTS` below `root`.

    Raises:
        UserError: the folder or the split file is missing, or the split file is not as CoOp's.
    """
    layout = LAYOUTS[name]
    folder = root / layout.folder
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder. Dataset '{name}' is looked for there: put it there in "
            "CoOp's layout, or set data.root to the folder that holds it."
        )
    return read_split(name, folder / layout.images, folder / layout.split, layout.template)


def read_split(name: str, images: Path, split: Path, template: str) -> Dataset:
    """Read a split file of CoOp's kind: {"train", "val", "test"}: [path, label, class name].

    Raises:
        UserError: the file or the folder `images` is missing, the file is damaged, a path leads
            outside `images`, or a label has two names.
    """
    try:
        content = json.loads(split.read_text(encoding="utf-8"))
        parts = {part: content[part] for part in ("train", "val", "test")}
        names: dict[int, str] = {}
        items = {part: tuple(_item(row, names) for row in rows) for part, rows in parts.items()}
    except FileNotFoundError:
        raise UserError(
            f"{split}: no such file. Wanted CoOp's split file beside the images."
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{split}: not a split file ({type(error).__name__}: {error}). "
            "Wanted train, val and test, each a list of [path, label, class name]."
        ) from None
    if set(names) != set(range(len(names))):
        raise UserError(
            f"{split}: labels {min(names)} to {max(names)} for {len(names)} classes, "
            "wanted 0, 1, 2, ... without gaps."
        )
    if not images.is_dir():
        raise UserError(f"{images}: no such folder. Wanted the images that {split} names.")
    return Dataset(
        name=name,
        folder=images,
        class_names=tuple(names[label] for label in sorted(names)),
        template=template,
        **items,
    )


def _item(row: Any, names: dict[int, str]) -> Item:
    path, label, name = row
    if type(label) is not int or not isinstance(name, str):
        raise TypeError(f"{row!r}: wanted a whole number as label and text as class name")
    if names.setdefault(label, spoken(name)) != spoken(name):
        raise ValueError(f"label {label} is named both {names[label]!r} and {name!r}")
    return Item(inside(path), label)


def spoken(name: str) -> str:
    """Return a class name as it is said in a prompt: underscores become spaces."""
    return " ".join(name.replace("_", " ").split())


def inside(path: str) -> str:
    """Return a relative POSIX path that stays inside its folder.

    Raises:
        ValueError: it is absolute or climbs out.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError(f"path {path!r} leads outside the dataset's folder")
    return str(pure)
