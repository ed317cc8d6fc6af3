"""FGVCAircraft: a file of variants, and a list of images for each split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fdbpl.data.dataset import PARTS, Dataset, Item
from fdbpl.data.disk import Fence, dataset_folder, numbered_lines
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError

NAME = "fgvc_aircraft"
TEMPLATE = "a photo of a {}, a type of aircraft."


@dataclass(frozen=True)
class Variants:
    """A layout: the file of variants, whose order labels follow."""

    lists: str = "variants.txt"
    page: str = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/"

    def read(self, name: str, root: Path) -> Dataset:
        """Read the dataset that lies in `root / name`.

        Raises:
            UserError: a folder or file is missing, or a line of a list names no variant or leads
                outside the images; the message names the line.
        """
        folder = dataset_folder(name, root / name)
        images = folder / "images"
        if not images.is_dir():
            raise UserError(f"{images}: no such folder. Wanted the images of FGVCAircraft.")
        lines = numbered_lines(folder / self.lists, "a variant of aircraft on each line")
        labels = {variant: label for label, (_, variant) in enumerate(lines)}
        fence = Fence(images)
        items = {
            part: _items(folder / f"images_variant_{part}.txt", labels, fence) for part in PARTS
        }
        class_names = tuple(spoken(variant) for _, variant in lines)
        return Dataset(
            name, images, class_names, TEMPLATE, items["train"], items["val"], items["test"]
        )


LAYOUTS: Mapping[str, Variants] = MappingProxyType({NAME: Variants()})


def _items(path: Path, labels: dict[str, int], fence: Fence) -> tuple[Item, ...]:
    wanted = 'an image and its variant on each line, such as "1025794 707-320"'
    items = []
    for number, line in numbered_lines(path, wanted):
        image, _, variant = line.partition(" ")
        try:
            if variant.strip() not in labels:
                raise ValueError(f"variant {variant.strip()!r} is not in variants.txt")
            items.append(Item(fence(f"{image}.jpg"), labels[variant.strip()]))
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}. Wanted {wanted}.") from None
    return tuple(items)
