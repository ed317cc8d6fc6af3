"""What every reader of a dataset returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

GENERIC_TEMPLATE = "a photo of a {}."
GENERIC_NEGATIVE = "a photo of no {}."

PARTS = ("train", "val", "test")

UNKNOWN = -1
"""The label of an image whose class nobody has told."""


class Item(NamedTuple):
    """One image: its path relative to the dataset's folder (POSIX), and its label or `UNKNOWN`."""

    path: str
    label: int


@dataclass(frozen=True)
class Dataset:
    """A dataset as it lies on disk.

    `class_names[label]` is the name that goes into the template, spaces instead of underscores.
    Any split may be empty: a shifted version of another dataset has test images only. Labels of
    training images may be `UNKNOWN`; those of validation and test images are not, as readers
    return them. `held_out`: the reader chose the test images, since nobody had named any.
    """

    name: str
    folder: Path
    class_names: tuple[str, ...]
    template: str
    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]
    held_out: bool = False


class Layout(Protocol):
    """How a published dataset lies on disk, and who reads it."""

    @property
    def lists(self) -> str:
        """The file that lies in the dataset's folder itself, and tells where that is."""

    @property
    def page(self) -> str:
        """Its authors' page, where their terms stand, whatever a mirror says."""

    def read(self, name: str, root: Path) -> Dataset:
        """Read the dataset that lies in `root / name`; raise `UserError` naming what is wrong."""
