"""What a dataset is on disk: folders, images, lists and tables; nothing leads outside."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from fdbpl.data.dataset import Item
from fdbpl.system.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jp2", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)

ADDED = frozenset(
    {
        *("__macosx", "desktop.ini", "thumbs.db", "$recycle.bin", "system volume information"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", ".@__thumb"),
        *("lost+found", "__pycache__"),
    }
)
"""What systems and network drives add to folders, in small letters."""


def dataset_folder(name: str, folder: Path) -> Path:
    """Return the folder of a published dataset; raise `UserError` when there is none."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder. Dataset '{name}' is looked for there: put it there in "
            "CoOp's layout, or set data.root to the folder that holds it."
        )
    return folder


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted, without what `is_shown` leaves out.

    Raises:
        UserError: `folder` is missing, or holds no folder.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and is_shown(entry.name)]
    except OSError as error:
        raise UserError(
            f"{folder}: {error.strerror}. Wanted a folder with one folder of images per class."
        ) from None
    if not names:
        raise UserError(f"{folder}: no class folders in it. Wanted one folder of images per class.")
    return sorted(require_utf8(folder, name) for name in names)


def images_below(folder: Path, under: str = ".") -> list[str]:
    """Return the images in and below `folder / under`, as POSIX paths relative to `folder`, sorted.

    An image is told by its suffix. What `is_shown` leaves out is no image; a broken link is listed,
    so that whoever reads it names it. Without `folder / under` there are none.

    Raises:
        UserError: a folder cannot be opened, or a name is not UTF-8.
    """
    return sorted(
        require_utf8(folder, path)
        for path in _files(folder, under)
        if _suffix(path) in IMAGE_SUFFIXES
    )


def labelled_images(folder: Path, places: Iterable[str]) -> tuple[Item, ...]:
    """Return the images below each of `places` in `folder`, labelled by the place's number."""
    return tuple(
        Item(path, label)
        for label, place in enumerate(places)
        for path in images_below(folder, place)
    )


def other_suffixes(folder: Path) -> dict[str, int]:
    """Count the files in and below `folder` that are no images by suffix, most frequent first."""
    suffixes = Counter(_suffix(path) for path in _files(folder, "."))
    return {
        suffix or "without suffix": count
        for suffix, count in sorted(suffixes.items(), key=lambda pair: (-pair[1], pair[0]))
        if suffix not in IMAGE_SUFFIXES
    }


def _files(folder: Path, under: str) -> Iterator[str]:
    if not (folder / under).exists():
        return
    for place, folders, files in os.walk(folder / under, onerror=_fail):
        folders[:] = [name for name in folders if is_shown(name)]
        below = Path(place).relative_to(folder)
        prefix = "" if below == Path() else f"{below.as_posix()}/"
        yield from (f"{prefix}{name}" for name in files if is_shown(name))


def _fail(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror}. Wanted a folder that can be opened.")


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - a million times, a path is slow


def is_shown(name: str) -> bool:
    """Tell whether a file or folder is the user's, neither hidden nor a system's or a NAS's own."""
    return not name.startswith(".") and name.lower() not in ADDED


def numbered_lines(path: Path, wanted: str) -> list[tuple[int, str]]:
    """Return the lines that are not empty, stripped, with their numbers from 1.

    Args:
        path: a UTF-8 text file, with or without a byte order mark.
        wanted: what the file holds, for the error.

    Raises:
        UserError: the file is missing, unreadable or not UTF-8.
    """
    lines = enumerate(read_text(path, wanted).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_text(path: Path, wanted: str) -> str:
    """Return a UTF-8 text file's content; `wanted` and errors as in `numbered_lines`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. Wanted {wanted}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8. Save the file as UTF-8; wanted {wanted}."
        ) from None


def csv_rows(
    table: Path, columns: Iterable[str], wanted: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each row of a CSV file stands, and its cells by column; none of empty rows.

    Raises:
        UserError: the file cannot be read or is no CSV, lacks one of `columns` or has a column
            twice, or a row has more or fewer cells than the header.
    """
    reader = csv.DictReader(io.StringIO(read_text(table, wanted), newline=""), strict=True)
    try:
        require_columns(table, list(reader.fieldnames or ()), columns, wanted)
        for cells in reader:
            where = f"{table}, line {reader.line_num}"
            if not any(map(_has_text, cells.values())):
                continue  # spreadsheets leave such rows at the end
            if None in cells or None in cells.values():
                raise UserError(
                    f"{where}: not as many cells as the header has. "
                    'Put "quotes" around a cell with a comma.'
                )
            yield where, cells
    except csv.Error as error:
        raise UserError(
            f"{table}, line {reader.reader.line_num}: {error}. Wanted {wanted}."
        ) from None


def require_columns(table: Path, found: list[str], columns: Iterable[str], wanted: str) -> None:
    """Raise `UserError` when a table lacks one of `columns`, or has two of one name."""
    if not set(columns).issubset(found):
        hint = " Separate cells by commas." if len(found) == 1 and ";" in found[0] else ""
        raise UserError(f"{table}: found columns {', '.join(found)}; wanted {wanted}.{hint}")
    twice = sorted({name for name in found if name.strip() and found.count(name) > 1})
    if twice:
        raise UserError(f"{table}: two columns {twice[0]!r}, wanted one. Take the other out.")


def _has_text(cell: str | list[str] | None) -> bool:
    """Tell whether a cell says something; a list is of what stands beyond the last column."""
    return any(one.strip() for one in cell or ())


def inside(path: object) -> str:
    """Return a relative POSIX path that stays inside its folder, in its one spelling.

    Raises:
        ValueError: it is no path, is absolute or climbs out.
    """
    if not isinstance(path, str):
        raise ValueError(f"path {path!r} is no text")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError(f"path {path!r} leads outside the dataset's folder")
    if not _is_utf8(path):
        raise ValueError(f"path {path!r} is no UTF-8")
    return str(pure)


class Fence:
    """Lets only paths pass that stay inside a folder, links on disk followed.

    The folder itself may be a link. A file that does not exist passes: whoever reads it names it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._root = folder.resolve()
        self._checked: set[Path] = {folder}

    def __call__(self, path: object) -> str:
        """Return the path in its one spelling.

        Raises:
            ValueError: see `inside`; or a link on the way leads outside.
        """
        kept = inside(path)
        file = self._folder / kept
        if file.parent not in self._checked:
            self._require_inside(file.parent, kept)
            self._checked.add(file.parent)
        if file.is_symlink():
            self._require_inside(file, kept)
        return kept

    def _require_inside(self, place: Path, path: str) -> None:
        try:
            end = place.resolve()
        except (OSError, RuntimeError):  # a ring of links; Python before 3.13 says RuntimeError
            raise ValueError(f"path {path!r} goes through a ring of links") from None
        if not end.is_relative_to(self._root):
            raise ValueError(
                f"path {path!r} leads outside the dataset's folder by a link, to {end}"
            )


def require_utf8(folder: Path, name: str) -> str:
    """Return a name listed in `folder`; raise `UserError` when its bytes are not UTF-8."""
    if not _is_utf8(name):
        shown = name.encode("utf-8", "backslashreplace").decode()
        raise UserError(f"{folder}: the file name {shown} is not UTF-8. Rename it.")
    return name


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # the mark Python leaves where bytes could not be decoded
        return False
    return True
