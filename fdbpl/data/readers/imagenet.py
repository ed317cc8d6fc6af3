"""ImageNet and its four shifted versions: class folders, and a file of class names."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fdbpl.data.dataset import GENERIC_TEMPLATE, Dataset, Item
from fdbpl.data.disk import class_folders, dataset_folder, labelled_images, numbered_lines
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError

CLASS_NAMES = "classnames.txt"


@dataclass(frozen=True)
class ClassFolders:
    """A layout: where the class folders of each split lie in the dataset's folder.

    A class folder is called by its wnid, or, when `numbered`, by the wnid's place among the sorted
    wnids of classnames.txt.
    """

    test: str
    page: str
    train: str | None = None
    numbered: bool = False
    lists: str = CLASS_NAMES

    def read(self, name: str, root: Path) -> Dataset:
        """Read the dataset that lies in `root / name`.

        Classes are those with a folder (of training images, where there are any), in the order of
        their wnids; so a version with 200 of the 1000 classes has labels 0 to 199. As CoOp has it,
        ImageNet's test images are those of val/, and the shifted versions have test images only.

        Raises:
            UserError: a folder or classnames.txt is missing, a class folder stands for no line of
                classnames.txt, or val/ has a class that train/ has not.
        """
        folder = dataset_folder(name, root / name)
        names = _class_names(folder / CLASS_NAMES)
        if self.numbered:
            names = {str(place): name for place, name in enumerate(names.values())}
        classes = _classes(folder / (self.train or self.test), names, CLASS_NAMES)
        if self.train:
            _classes(folder / self.test, classes, self.train)

        def items(part: str) -> tuple[Item, ...]:
            return labelled_images(folder, [f"{part}/{found}" for found in classes])

        return Dataset(
            name=name,
            folder=folder,
            class_names=tuple(names[found] for found in classes),
            template=GENERIC_TEMPLATE,
            train=items(self.train) if self.train else (),
            val=(),
            test=items(self.test),
        )


LAYOUTS: Mapping[str, ClassFolders] = MappingProxyType(
    {
        "imagenet": ClassFolders(
            "images/val", "https://image-net.org/download.php", train="images/train"
        ),
        "imagenetv2": ClassFolders(
            "imagenetv2-matched-frequency-format-val",
            "https://github.com/modestyachts/ImageNetV2",
            numbered=True,
        ),
        "imagenet-sketch": ClassFolders("images", "https://github.com/HaohanWang/ImageNet-Sketch"),
        "imagenet-adversarial": ClassFolders(
            "imagenet-a", "https://github.com/hendrycks/natural-adv-examples"
        ),
        "imagenet-rendition": ClassFolders("imagenet-r", "https://github.com/hendrycks/imagenet-r"),
    }
)
SHIFTED = tuple(name for name, layout in LAYOUTS.items() if layout.train is None)


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
