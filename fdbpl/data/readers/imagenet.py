"""ImageNet and its four shifted versions: class folders, and a file of class names."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fdbpl.data.dataset import GENERIC_TEMPLATE, Dataset, Item
from fdbpl.data.disk import class_folders, dataset_folder, images_below, numbered_lines
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError

CLASS_NAMES = "classnames.txt"


@dataclass(frozen=True)
class Layout:
    """Where the class folders of each split lie in the dataset's folder.

    A class folder is called by its wnid, or, when `numbered`, by the wnid's place among the sorted
    wnids of classnames.txt.
    """

    test: str
    train: str | None = None
    numbered: bool = False


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "imagenet": Layout("images/val", train="images/train"),
        "imagenetv2": Layout("imagenetv2-matched-frequency-format-val", numbered=True),
        "imagenet-sketch": Layout("images"),
        "imagenet-adversarial": Layout("imagenet-a"),
        "imagenet-rendition": Layout("imagenet-r"),
    }
)
SHIFTED = tuple(name for name, layout in LAYOUTS.items() if layout.train is None)


def read_imagenet(name: str, root: Path) -> Dataset:
    """Read one of `LAYOUTS`, which lies in `root / name`.

    Classes are those with a folder (of training images, where there are any), in the order of
    their wnids; so a version with 200 of the 1000 classes has labels 0 to 199. As CoOp has it,
    ImageNet's test images are those of val/, and the shifted versions have test images only.

    Raises:
        UserError: a folder or classnames.txt is missing, a class folder stands for no line of
            classnames.txt, or val/ has a class that train/ has not.
    """
    layout = LAYOUTS[name]
    folder = dataset_folder(name, root / name)
    names = _class_names(folder / CLASS_NAMES)
    if layout.numbered:
        names = {str(place): name for place, name in enumerate(names.values())}
    classes = _classes(folder / (layout.train or layout.test), names, CLASS_NAMES)
    if layout.train:
        _classes(folder / layout.test, classes, layout.train)
    return Dataset(
        name=name,
        folder=folder,
        class_names=tuple(names[found] for found in classes),
        template=GENERIC_TEMPLATE,
        train=_items(folder, layout.train, classes) if layout.train else (),
        val=(),
        test=_items(folder, layout.test, classes),
    )


def _class_names(path: Path) -> dict[str, str]:
    """Read classnames.txt, a line a class: "wnid name"; return the names by wnid, sorted."""
    wanted = 'a line for each class, such as "n01440764 tench"'
    names: dict[str, str] = {}
    for number, line in numbered_lines(path, wanted):
        wnid, _, name = line.partition(" ")
        if not name or wnid in names:
            fault = "a second line of this wnid" if name else "no class name"
            raise UserError(f"{path}, line {number}: {line!r}: {fault}. Wanted {wanted}.")
        names[wnid] = spoken(name)
    return dict(sorted(names.items()))


def _classes(folder: Path, known: Collection[str], source: str) -> list[str]:
    """Return the class folders in `folder`, in the order of `known`, the classes of `source`."""
    found = set(class_folders(folder))
    unknown = sorted(found.difference(known))
    if unknown:
        raise UserError(
            f"{folder / unknown[0]}: a class that {source} does not know "
            f"({len(unknown)} of {len(found)} folders). Wanted {', '.join(list(known)[:3])}, ..."
        )
    return [name for name in known if name in found]


def _items(folder: Path, part: str, classes: list[str]) -> tuple[Item, ...]:
    return tuple(
        Item(path, label)
        for label, found in enumerate(classes)
        for path in images_below(folder, f"{part}/{found}")
    )
