"""A dataset of one's own: a table with columns image, class and perhaps split."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fdbpl.data.dataset import PARTS, UNKNOWN, Dataset, Item
from fdbpl.data.disk import Fence, csv_rows, require_columns
from fdbpl.data.names import require_distinct, spoken
from fdbpl.data.splits import hold_out
from fdbpl.system.errors import UserError

REQUIRED = ("image", "class")
COLUMNS = (*REQUIRED, "split")
WANTED = "a table with columns image, class and perhaps split (train, val or test)"


class Row(NamedTuple):
    """One row: where it stands, for errors; its class as `spoken`; its split, None without one."""

    where: str
    image: str
    class_name: str
    part: str | None


def read_table(name: str, table: Path, template: str) -> Dataset:
    """Read a CSV or Parquet table; labels follow the sorted class names.

    Images are relative to the table's folder. Without a column `split`, `hold_out` chooses the
    test images. Training images may have no class; validation and test images must.

    Raises:
        UserError: the table is missing or damaged, a column is missing, a path leads outside the
            table's folder or stands twice, a split is unknown, a test image has no class, or two
            class names are the same; the message names the row.
    """
    rows = list(_rows(table))
    first_use: dict[str, str] = {}
    for row in rows:
        if row.class_name:
            first_use.setdefault(row.class_name, row.where)
    require_distinct((where, class_name) for class_name, where in first_use.items())
    class_names = tuple(sorted(first_use))
    labels = {class_name: label for label, class_name in enumerate(class_names)}
    items = [
        (row.part, Item(row.image, labels.get(row.class_name, UNKNOWN)))
        for row in sorted(rows, key=lambda row: row.image)
    ]
    train, val, test = (tuple(item for at, item in items if at == part) for part in PARTS)
    held_out = all(row.part is None for row in rows)
    if held_out:
        train, test = hold_out([item for _, item in items])
    return Dataset(name, table.parent, class_names, template, train, val, test, held_out=held_out)


def _rows(table: Path) -> Iterator[Row]:
    kinds = {".csv": csv_rows, ".parquet": _parquet_rows}
    if table.suffix.lower() not in kinds:
        raise UserError(f"{table}: wanted a table of the name .csv or .parquet.")
    fence, places = Fence(table.parent), dict[str, str]()
    for where, cells in kinds[table.suffix.lower()](table, REQUIRED, WANTED):
        part, class_name = cells.get("split"), spoken(cells["class"])
        if part is not None and (part := part.strip().lower()) not in PARTS:
            raise UserError(f"{where}: split is {cells['split']!r}, wanted {', '.join(PARTS)}.")
        try:
            image = fence(cells["image"])
        except ValueError as error:
            raise UserError(f"{where}: {error}. Wanted a path relative to the table.") from None
        if cells["class"].strip() and not class_name:
            raise UserError(
                f"{where}: class is {cells['class']!r}, wanted letters to put in a prompt."
            )
        if part in ("val", "test") and not class_name:
            raise UserError(f"{where}: a {part} image without class. Only train may be.")
        if image in places:
            raise UserError(f"{where}: image {image!r} stands at {places[image]} too, wanted once.")
        places[image] = where
        yield Row(where, image, class_name, part)
    if not places:
        raise UserError(f"{table}: no rows. Wanted {WANTED}.")


def _parquet_rows(
    table: Path, required: Iterable[str], wanted: str
) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{table}: reading Parquet needs the package pyarrow. Install it, or save as .csv."
        ) from None
    try:
        columns = parquet.read_schema(table).names
        require_columns(table, columns, required, wanted)
        known = [column for column in COLUMNS if column in columns]
        rows = parquet.read_table(table, columns=known).to_pylist()
    except FileNotFoundError:
        raise UserError(f"{table}: no such file. Wanted {wanted}.") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{table}: not a Parquet table ({error}). Wanted {wanted}.") from None
    for number, row in enumerate(rows, start=1):
        cells = {column: "" if cell is None else str(cell) for column, cell in row.items()}
        yield f"{table}, row {number}", cells
