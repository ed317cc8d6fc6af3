"""A dataset of one's own: a table with columns image, class and perhaps split."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fdbpl.data.dataset import PARTS, UNKNOWN, Dataset, Item
from fdbpl.data.disk import Fence, read_text
from fdbpl.data.names import require_distinct, spoken
from fdbpl.data.splits import hold_out
from fdbpl.system.errors import UserError

COLUMNS = ("image", "class", "split")
WANTED = "columns image, class and perhaps split (train, val or test)"


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
    _check(rows)
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
    if all(row.part is None for row in rows):
        train, test = hold_out([item for _, item in items])
    return Dataset(name, table.parent, class_names, template, train, val, test)


def _check(rows: list[Row]) -> None:
    first: dict[str, str] = {}
    for row in rows:
        place = first.setdefault(row.image, row.where)
        if place != row.where:
            raise UserError(f"{row.where}: image {row.image!r} stands at {place} too, wanted once.")
        if row.part in ("val", "test") and not row.class_name:
            raise UserError(f"{row.where}: a {row.part} image without class. Only train may be.")


def _rows(table: Path) -> Iterator[Row]:
    kinds = {".csv": _csv, ".parquet": _parquet}
    if table.suffix.lower() not in kinds:
        raise UserError(f"{table}: wanted a table of the name .csv or .parquet.")
    fence = Fence(table.parent)
    empty = True
    for where, (image, class_name, part) in kinds[table.suffix.lower()](table):
        empty = False
        if part is not None and part.strip().lower() not in PARTS:
            raise UserError(f"{where}: split is {part!r}, wanted {', '.join(PARTS)}.")
        try:
            path = fence(image)
        except ValueError as error:
            raise UserError(f"{where}: {error}. Wanted a path relative to the table.") from None
        if class_name.strip() and not spoken(class_name):
            raise UserError(f"{where}: class is {class_name!r}, wanted letters to put in a prompt.")
        yield Row(where, path, spoken(class_name), part and part.strip().lower())
    if empty:
        raise UserError(f"{table}: no rows. Wanted {WANTED}.")


Cells = tuple[str, str, str | None]


def _csv(table: Path) -> Iterator[tuple[str, Cells]]:
    text = read_text(table, f"a table with {WANTED}")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_columns(table, list(reader.fieldnames or ()))
        for where, cells in full_rows(table, reader):
            yield where, (cells["image"], cells["class"], cells.get("split"))
    except csv.Error as error:
        raise UserError(
            f"{table}, line {reader.reader.line_num}: {error}. Wanted {WANTED}."
        ) from None


def _parquet(table: Path) -> Iterator[tuple[str, Cells]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{table}: reading Parquet needs the package pyarrow. Install it, or save as .csv."
        ) from None
    try:
        columns = parquet.read_schema(table).names
        _check_columns(table, columns)
        wanted = [column for column in COLUMNS if column in columns]
        rows = parquet.read_table(table, columns=wanted).to_pylist()
    except FileNotFoundError:
        raise UserError(f"{table}: no such file. Wanted a table with {WANTED}.") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{table}: not a Parquet table ({error}). Wanted {WANTED}.") from None
    for number, row in enumerate(rows, start=1):
        cells = {column: "" if cell is None else str(cell) for column, cell in row.items()}
        yield f"{table}, row {number}", (cells["image"], cells["class"], cells.get("split"))


def _check_columns(table: Path, found: list[str]) -> None:
    if not {"image", "class"}.issubset(found):
        hint = " Separate cells by commas." if len(found) == 1 and ";" in found[0] else ""
        raise UserError(f"{table}: found columns {', '.join(found)}; wanted {WANTED}.{hint}")


def full_rows(table: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each row of a CSV file stands, and its cells by column.

    Raises:
        UserError: a row has more or fewer cells than the header.
    """
    for cells in reader:
        where = f"{table}, line {reader.line_num}"
        if None in cells or None in cells.values():
            raise UserError(
                f"{where}: not as many cells as the header has. "
                'Put "quotes" around a cell with a comma.'
            )
        yield where, cells
