"""FGVCAircraft: a file of variants, and a list of images for each split."""

from pathlib import Path

from fdbpl.data.dataset import Dataset, Item
from fdbpl.data.disk import Fence, dataset_folder, numbered_lines
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError

NAME = "fgvc_aircraft"
VARIANTS = "variants.txt"
TEMPLATE = "a photo of a {}, a type of aircraft."


def read_aircraft(name: str, root: Path) -> Dataset:
    """Read FGVCAircraft by its variants, from `root / name`; labels follow variants.txt.

    Raises:
        UserError: a folder or file is missing, or a line of a list names no variant or leads
            outside the images; the message names the line.
    """
    folder = dataset_folder(name, root / name)
    images = folder / "images"
    if not images.is_dir():
        raise UserError(f"{images}: no such folder. Wanted the images of FGVCAircraft.")
    lines = numbered_lines(folder / VARIANTS, "a variant of aircraft on each line")
    variants = [variant for _, variant in lines]
    labels = {variant: label for label, variant in enumerate(variants)}
    fence = Fence(images)
    train, val, test = (
        _items(folder / f"images_variant_{part}.txt", labels, fence)
        for part in ("train", "val", "test")
    )
    class_names = tuple(spoken(variant) for variant in variants)
    return Dataset(name, images, class_names, TEMPLATE, train, val, test)


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
