"""What lies in a folder: class folders and images, in an order that no file system decides."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fdbpl.benchmarks.paths import require_utf8
from fdbpl.system.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jp2", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)


def dataset_folder(name: str, folder: Path) -> Path:
    """Return the folder of a published dataset; raise `UserError` when there is none."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder. Dataset '{name}' is looked for there: put it there in "
            "CoOp's layout, or set data.root to the folder that holds it."
        )
    return folder


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted, hidden ones left out.

    Raises:
        UserError: `folder` is missing, or holds no folder.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and _is_shown(entry.name)]
    except OSError as error:
        raise UserError(
            f"{folder}: {error.strerror}. Wanted a folder with one folder of images per class."
        ) from None
    if not names:
        raise UserError(f"{folder}: no class folders in it. Wanted one folder of images per class.")
    return sorted(require_utf8(folder, name) for name in names)


def images_below(folder: Path, under: str = ".") -> list[str]:
    """Return the images in and below `folder / under`, as POSIX paths relative to `folder`, sorted.

    An image is told by its suffix. Hidden files and folders are left out, as macOS adds them;
    a broken link is listed, so that whoever reads it names it. Without `folder / under` there are
    none.

    Raises:
        UserError: a folder cannot be opened, or a name is not UTF-8.
    """
    return sorted(
        require_utf8(folder, path)
        for path in _files(folder, under)
        if _suffix(path) in IMAGE_SUFFIXES
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
        folders[:] = [name for name in folders if _is_shown(name)]
        below = Path(place).relative_to(folder)
        prefix = "" if below == Path() else f"{below.as_posix()}/"
        yield from (f"{prefix}{name}" for name in files if _is_shown(name))


def _fail(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror}. Wanted a folder that can be opened.")


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - a million times, a path is slow


def _is_shown(name: str) -> bool:
    return not name.startswith(".")
