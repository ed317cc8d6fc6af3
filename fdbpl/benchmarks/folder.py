"""A dataset of one's own: one folder per class, perhaps below train/ and test/."""

from pathlib import Path

from fdbpl.benchmarks.coop import spoken
from fdbpl.benchmarks.dataset import Dataset, Item
from fdbpl.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


def read_folder(name: str, folder: Path, template: str) -> Dataset:
    """Read a folder of class folders; labels follow the sorted folder names.

    With `train/` and `test/` (or `val/`) inside, each holds the class folders of that split.
    Without them all images are for training and nothing can be evaluated, so that is an error.

    Raises:
        UserError: the folder is missing or empty, has no test split, or the splits' classes
            differ.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Correct data.own.{name}.folder in params.yaml.")
    splits = {part: folder / part for part in ("train", "val", "test")}
    for part in ("train", "test"):
        if not splits[part].is_dir():
            raise UserError(
                f"{folder}: no folder {part}/. Wanted train/<class>/ and test/<class>/ with images."
            )
    classes = _class_folders(splits["train"])
    unknown = sorted(set(_class_folders(splits["test"])) - set(classes))
    if unknown:
        raise UserError(
            f"{splits['test'] / unknown[0]}: a class without training folder. "
            f"Wanted the classes of {splits['train']}: {', '.join(classes[:5])}, ..."
        )
    return Dataset(
        name=name,
        folder=folder,
        class_names=tuple(spoken(class_name) for class_name in classes),
        template=template,
        train=_items(folder, "train", classes),
        val=_items(folder, "val", classes),
        test=_items(folder, "test", classes),
    )


def _class_folders(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: no class folders in it. Wanted one folder of images per class.")
    return names


def _items(folder: Path, part: str, classes: list[str]) -> tuple[Item, ...]:
    return tuple(
        Item(path.relative_to(folder).as_posix(), label)
        for label, name in enumerate(classes)
        for path in sorted((folder / part / name).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
