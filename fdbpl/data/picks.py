"""Few-shot picks as a plain table that anyone can compare, publish or bring in.

A CSV file of the columns `image, class, split, shot seed`. A row of split `train` is one image
that a seed learns from; a row of `val` or `test` has no seed, and names an image of that split.
Paths are relative to the dataset's folder of images, as in CoOp's split files.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from fdbpl.data.dataset import PARTS, UNKNOWN, Dataset, Item
from fdbpl.data.disk import csv_rows, inside
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError

SEED = "shot seed"
COLUMNS = ("image", "class", "split", SEED)
WANTED = f"a table with columns {', '.join(COLUMNS)}"

Picks = Mapping[int, frozenset[Item]]
"""The training images of each seed."""


def picks_table(dataset: Dataset, picks: Mapping[int, Iterable[Item]]) -> bytes:
    """Return the table of these picks, and of the images they are tested on, as CSV.

    Rows are sorted by seed, class and path, so equal picks are equal bytes.
    """
    rows = [
        (item, "train", str(seed))
        for seed, items in sorted(picks.items())
        for item in sorted(items, key=_by_label)
    ]
    rows += [(item, "test", "") for item in sorted(dataset.test, key=_by_label)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((item.path, _name(dataset, item), part, seed) for item, part, seed in rows)
    return text.getvalue().encode()


def read_picks(table: Path, dataset: Dataset) -> Picks:
    """Read a table of picks, every row of which is held against the dataset as it lies on disk.

    Raises:
        UserError: the table is missing or damaged, a column is missing, a path leads outside the
            dataset's folder, an image is not in the split that its row names, its class is
            another, a seed is no whole number, stands in a row of another split or is missing in
            one of train, or a row stands twice; the message names the line.
    """
    items = {part: {item.path: item for item in getattr(dataset, part)} for part in PARTS}
    seen: dict[tuple[str, str, str], str] = {}
    picks: dict[int, set[Item]] = {}
    for where, cells in csv_rows(table, COLUMNS, WANTED):
        try:
            part, item = _item(cells, items, dataset)
            seed = _seed(part, cells[SEED].strip())
        except ValueError as error:
            raise UserError(f"{where}: {error}.") from None
        place = seen.setdefault((part, item.path, str(seed)), where)
        if place != where:
            raise UserError(f"{where}: image {item.path!r} stands at {place} too, wanted once.")
        if seed is not None:
            picks.setdefault(seed, set()).add(item)
    if not picks:
        raise UserError(f"{table}: no row of split train. Wanted {WANTED}.")
    return {seed: frozenset(chosen) for seed, chosen in sorted(picks.items())}


def _item(
    cells: Mapping[str, str], items: Mapping[str, Mapping[str, Item]], dataset: Dataset
) -> tuple[str, Item]:
    """Return a row's split and image; raise ValueError when the dataset has it not, or otherwise.

    Only images that the dataset lists pass, and those were seen to stay inside its folder.
    """
    part, path = cells["split"].strip().lower(), inside(cells["image"])
    if part not in PARTS:
        raise ValueError(f"split is {cells['split']!r}, wanted {', '.join(PARTS)}")
    item = items[part].get(path)
    if item is None:
        others = [other for other in PARTS if path in items[other]]
        place = f"it is in {' and '.join(others)}" if others else "it is in no split"
        raise ValueError(
            f"image {path!r} is not among the {part} images of {dataset.name}, {place}; wanted a "
            f"path relative to {dataset.folder}"
        )
    if spoken(cells["class"]) != _name(dataset, item):
        raise ValueError(
            f"image {path!r} is of class {cells['class']!r}, and in {dataset.name} of "
            f"{_name(dataset, item)!r}"
        )
    return part, item


def _seed(part: str, cell: str) -> int | None:
    if part != "train":
        if cell:
            raise ValueError(f"{SEED} is {cell!r} in a row of split {part}, wanted none")
        return None
    if not (cell.isascii() and cell.isdigit()):
        raise ValueError(f"{SEED} is {cell!r}, wanted a whole number such as 1")
    return int(cell)


def _name(dataset: Dataset, item: Item) -> str:
    return "" if item.label == UNKNOWN else dataset.class_names[item.label]


def _by_label(item: Item) -> tuple[int, str]:
    return item.label, item.path
