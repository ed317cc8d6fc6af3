"""The pictures that a command line names, one after the other: files, folders, lists."""

import os
from collections.abc import Iterable, Iterator

from fdbpl.data.disk import IMAGE_SUFFIXES, is_shown

LIST = "-"
"""In place of a path: a list of paths, one a line, on standard input."""


def pictures(paths: Iterable[str], lines: Iterable[str] = ()) -> Iterator[str]:
    """Yield the pictures that paths name, in order; nothing is listed that is not yet wanted.

    A folder stands for the pictures in and below it, told by their suffix, in the order of their
    names, hidden ones left out; a link that leads back up is not followed. A file is taken whatever
    its name. What is not there or cannot be opened is yielded, so that whoever reads it names it.

    Args:
        paths: of files and folders; `LIST` for the paths in `lines`.
        lines: paths, one a line.
    """
    rest = iter(lines)
    for path in paths:
        if path == LIST:
            yield from pictures((line for raw in rest if (line := raw.rstrip("\r\n"))), rest)
        elif os.path.isdir(path):  # noqa: PTH112 - a path of bytes that are no UTF-8 stays as it is
            yield from _below(path, ())
        else:
            yield path


def _below(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield the pictures in and below a folder; `above` are those that it is in."""
    try:
        about = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, _is_folder(entry)) for entry in entries if is_shown(entry.name)
            )
    except OSError:
        yield folder
        return
    here = about.st_dev, about.st_ino
    if here in above:
        return
    for name, is_folder in found:
        path = os.path.join(folder, name)  # noqa: PTH118 - a hundred thousand times
        if is_folder:
            yield from _below(path, (*above, here))
        elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
            yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    if entry.is_symlink():
        return os.path.isdir(entry.path)  # noqa: PTH112 - a link to itself is none
    return entry.is_dir()
