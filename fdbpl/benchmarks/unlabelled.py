"""A dataset of one's own: a folder of images without classes, and a file of class names."""

from pathlib import Path

from fdbpl.benchmarks.dataset import UNKNOWN, Dataset, Item
from fdbpl.benchmarks.lines import numbered_lines
from fdbpl.benchmarks.listing import images_below
from fdbpl.benchmarks.names import require_distinct, spoken
from fdbpl.errors import UserError


def read_unlabelled(name: str, images: Path, names: Path, template: str) -> Dataset:
    """Read training images whose classes nobody has told; labels follow the lines of `names`.

    Raises:
        UserError: the folder or the file is missing or empty, or two class names are the same.
    """
    key = f"data.own.{name}"
    if not images.is_dir():
        raise UserError(f"{images}: no such folder. Correct {key}.images in params.yaml.")
    lines = numbered_lines(names, f"a class name on each line ({key}.names)")
    named = [(f"{names}, line {number}", spoken(line)) for number, line in lines]
    require_distinct(named)
    paths = images_below(images)
    if not paths:
        raise UserError(f"{images}: no image in it or below it. Correct {key}.images.")
    return Dataset(
        name=name,
        folder=images,
        class_names=tuple(class_name for _, class_name in named),
        template=template,
        train=tuple(Item(path, UNKNOWN) for path in paths),
        val=(),
        test=(),
    )
