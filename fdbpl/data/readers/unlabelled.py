"""A dataset of one's own: images without classes, and class names from elsewhere."""

import os
from collections.abc import Sequence
from pathlib import Path

from fdbpl.data.dataset import UNKNOWN, Dataset, Item
from fdbpl.data.disk import class_folders, images_below
from fdbpl.data.names import read_names, require_distinct, spoken
from fdbpl.system.errors import UserError


def read_unlabelled(
    name: str,
    images: Path,
    names: Path | None,
    template: str,
    test: Path | None = None,
    vocabulary: Sequence[str] = (),
) -> Dataset:
    """Read training images whose classes nobody has told, and perhaps test images with classes.

    Labels follow the lines of `names`. Without `names` the classes are the folders of `test`; and
    without these the vocabulary is what there is to tell apart.

    Args:
        name: of the dataset.
        images: a folder of images, in folders or not.
        names: a text file with a class name on each line.
        template: the sentence around a class name.
        test: a folder with one folder of images per class, in or beside `images`: a plan holds
            paths relative to `images`, and none of the machine.
        vocabulary: names to take where nothing else names classes.

    Raises:
        UserError: a folder or the file is missing or empty, `test` lies elsewhere, two class names
            are the same, or a folder of `test` is not among the names.
    """
    key = f"data.own.{name}"
    if not images.is_dir():
        raise UserError(f"{images}: no such folder. Correct {key}.images.")
    below = None if test is None else _below(images, test, f"{key}.test")
    tests = {} if test is None else {name: spoken(name) for name in class_folders(test)}
    if names is not None:
        class_names = read_names(names, f"{key}.names")
    elif tests:
        require_distinct((f"{test}/{folder}", class_name) for folder, class_name in tests.items())
        class_names = tuple(tests.values())
    else:
        class_names = tuple(vocabulary)
    labels = {class_name.lower(): label for label, class_name in enumerate(class_names)}
    for folder, class_name in tests.items():
        if class_name.lower() not in labels:
            raise UserError(
                f"{test}/{folder}: class {class_name!r} is not in {names}. "
                "Add it there, or rename the folder."
            )
    paths = [path for path in images_below(images) if not path.startswith(f"{below}/")]
    if not paths:
        raise UserError(f"{images}: no image in it or below it. Correct {key}.images.")
    return Dataset(
        name=name,
        folder=images,
        class_names=class_names,
        template=template,
        train=tuple(Item(path, UNKNOWN) for path in paths),
        val=(),
        test=tuple(
            Item(path, labels[class_name.lower()])
            for folder, class_name in tests.items()
            for path in images_below(images, f"{below}/{folder}")
        ),
    )


def _below(images: Path, test: Path, key: str) -> str:
    """Return the path of `test` relative to `images`, which may begin with one step up."""
    if not test.is_dir():
        raise UserError(f"{test}: no such folder. Correct {key}.")
    here, there = images.resolve(), test.parent.resolve() / test.name
    if not there.is_relative_to(here.parent) or here.is_relative_to(there):
        raise UserError(
            f"{test}: lies neither in {images} nor beside it. Move it there, or put a link to it "
            f"there and name the link in {key}."
        )
    return Path(os.path.relpath(there, here)).as_posix()
