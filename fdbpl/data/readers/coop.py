"""Datasets with a split file of CoOp's, beside a folder of images, as the field has them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fdbpl.data.dataset import GENERIC_TEMPLATE, PARTS, Dataset, Item
from fdbpl.data.disk import Fence, dataset_folder, read_text
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError

VGG = "https://www.robots.ox.ac.uk/~vgg/data"


@dataclass(frozen=True)
class SplitFile:
    """A layout: the folder of images in the dataset's own, what CoOp calls it, and its template."""

    images: str
    called: str
    page: str
    template: str = GENERIC_TEMPLATE

    @property
    def lists(self) -> str:
        """The split file, in the dataset's folder."""
        return f"split_zhou_{self.called}.json"

    def read(self, name: str, root: Path) -> Dataset:
        """Read the dataset that lies in `root / name`.

        Raises:
            UserError: the folder or the split file is missing, or the split file is not as CoOp's.
        """
        folder = dataset_folder(name, root / name)
        return read_split(name, folder / self.images, folder / self.lists, self.template)


LAYOUTS: Mapping[str, SplitFile] = MappingProxyType(
    {
        "caltech-101": SplitFile(
            "101_ObjectCategories", "Caltech101", "https://data.caltech.edu/records/mzrjq-6wc02"
        ),
        "oxford_pets": SplitFile(
            "images", "OxfordPets", f"{VGG}/pets/", "a photo of a {}, a type of pet."
        ),
        "stanford_cars": SplitFile(
            "", "StanfordCars", "https://ai.stanford.edu/~jkrause/cars/car_dataset.html"
        ),
        "oxford_flowers": SplitFile(
            "jpg", "OxfordFlowers", f"{VGG}/flowers/102/", "a photo of a {}, a type of flower."
        ),
        "food-101": SplitFile(
            "images",
            "Food101",
            "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
            "a photo of {}, a type of food.",
        ),
        "sun397": SplitFile("SUN397", "SUN397", "https://vision.princeton.edu/projects/2010/SUN/"),
        "dtd": SplitFile("images", "DescribableTextures", f"{VGG}/dtd/", "{} texture."),
        "eurosat": SplitFile(
            "2750",
            "EuroSAT",
            "https://github.com/phelber/EuroSAT",
            "a centered satellite photo of {}.",
        ),
        "ucf101": SplitFile(
            "UCF-101-midframes",
            "UCF101",
            "https://www.crcv.ucf.edu/data/UCF101.php",
            "a photo of a person doing {}.",
        ),
    }
)


def read_split(name: str, images: Path, split: Path, template: str) -> Dataset:
    """Read a split file of CoOp's kind: {"train", "val", "test"}: [path, label, class name].

    Raises:
        UserError: the file or the folder `images` is missing, the file is damaged, a path leads
            outside `images`, or a label has two names; the message names the entry.
    """
    names: dict[int, str] = {}
    fence = Fence(images)
    items: dict[str, tuple[Item, ...]] = {}
    for part, rows in _parts(split).items():
        read = []
        for index, row in enumerate(rows):
            try:
                read.append(_item(row, names, fence))
            except ValueError as error:
                raise UserError(
                    f"{split}, entry {index} of {part}: {error}. "
                    "Wanted [path, label, class name], the path relative to the images."
                ) from None
        items[part] = tuple(read)
    if set(names) != set(range(len(names))):
        raise UserError(
            f"{split}: labels {min(names)} to {max(names)} for {len(names)} classes, "
            "wanted 0, 1, 2, ... without gaps."
        )
    if not images.is_dir():
        raise UserError(f"{images}: no such folder. Wanted the images that {split} names.")
    class_names = tuple(names[label] for label in sorted(names))
    return Dataset(name, images, class_names, template, items["train"], items["val"], items["test"])


def _parts(split: Path) -> dict[str, list[Any]]:
    text = read_text(split, "CoOp's split file beside the images")
    try:
        content = json.loads(text)
        parts = {part: content[part] for part in PARTS}
        if not all(isinstance(rows, list) for rows in parts.values()):
            raise TypeError("a part is no list")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{split}: not a split file ({type(error).__name__}: {error}). "
            "Wanted train, val and test, each a list of [path, label, class name]."
        ) from None
    return parts


def _item(row: Any, names: dict[int, str], fence: Fence) -> Item:
    if not isinstance(row, list) or len(row) != 3:
        raise ValueError(f"found {row!r:.80}")
    path, label, name = row
    if type(label) is not int or not isinstance(name, str):
        raise ValueError(f"{row!r}: wanted a whole number as label and text as class name")
    if names.setdefault(label, spoken(name)) != spoken(name):
        raise ValueError(f"label {label} is named both {names[label]!r} and {name!r}")
    return Item(fence(path), label)
