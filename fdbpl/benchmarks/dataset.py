"""What every reader of a dataset returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

GENERIC_TEMPLATE = "a photo of a {}."


class Item(NamedTuple):
    """One image: its path relative to the dataset's image folder (POSIX), and its label."""

    path: str
    label: int


@dataclass(frozen=True)
class Dataset:
    """A dataset as it lies on disk.

    `class_names[label]` is the name that goes into the template, spaces instead of underscores.
    """

    name: str
    folder: Path
    class_names: tuple[str, ...]
    template: str
    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]
