"""A dataset of one's own: one folder per class, perhaps below train/ and test/."""

from pathlib import Path

from fdbpl.data.dataset import PARTS, Dataset
from fdbpl.data.disk import class_folders, labelled_images
from fdbpl.data.names import require_distinct, spoken
from fdbpl.data.splits import hold_out
from fdbpl.system.errors import UserError

# What people call a folder of a split: as a class name it is a mistake, not a class.
SPLIT_WORDS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def read_folder(name: str, folder: Path, template: str) -> Dataset:
    """Read a folder of class folders; labels follow the sorted folder names.

    With train/ and test/ (and perhaps val/) inside, each holds the class folders of that split.
    With neither, the class folders lie in `folder` itself, and `hold_out` chooses the test images.

    Raises:
        UserError: the folder is missing or empty, has one of train/ and test/ only, the splits'
            classes differ, or two class names are the same.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Correct data.own.{name}.folder.")
    found = class_folders(folder)
    is_split = "train" in found or "test" in found
    classes = _split_classes(folder, found) if is_split else _classes(folder, found)
    below = folder / "train" if is_split else folder
    require_distinct((str(below / class_name), spoken(class_name)) for class_name in classes)
    if is_split:
        train, val, test = (
            labelled_images(folder, [f"{part}/{name}" for name in classes]) for part in PARTS
        )
    else:
        (train, test), val = hold_out(labelled_images(folder, classes)), ()
    class_names = tuple(spoken(class_name) for class_name in classes)
    return Dataset(name, folder, class_names, template, train, val, test, held_out=not is_split)


def _split_classes(folder: Path, found: list[str]) -> list[str]:
    for part in ("train", "test"):
        if part not in found:
            raise UserError(
                f"{folder}: no folder {part}/. Wanted train/<class>/ and test/<class>/ with "
                "images, or <class>/ alone, no class being called train or test."
            )
    classes = class_folders(folder / "train")
    unknown = sorted(set(class_folders(folder / "test")) - set(classes))
    if unknown:
        raise UserError(
            f"{folder / 'test' / unknown[0]}: a class without training folder. "
            f"Wanted the classes of {folder / 'train'}: {', '.join(classes[:5])}, ..."
        )
    return classes


def _classes(folder: Path, found: list[str]) -> list[str]:
    if SPLIT_WORDS.issuperset(name.lower() for name in found):
        raise UserError(
            f"{folder}: found {', '.join(found)}, which look like splits. "
            "Wanted the folders train and test, spelt so, or one folder per class."
        )
    return found
