"""The pictures that a command line names, one after the other: files, folders, lists."""

import os
from collections.abc import Iterable, Iterator
from typing import TextIO

from fdbpl.data.disk import IMAGE_SUFFIXES

LIST = "-"
"""In place of a path: a list of paths, one a line, on standard input."""


def pictures(paths: Iterable[str], lines: TextIO) -> Iterator[str]:
    """Yield the pictures that paths name, in order; nothing is listed that is not yet wanted.

    A folder stands for the pictures in and below it, told by their suffix, in the order of their
    names, hidden ones left out. A file is taken whatever its name. What is not there is yielded,
    so that whoever reads it names it.

    Args:
        paths: of files and folders; `LIST` for the paths in `lines`.
        lines: paths, one a line.
    """
    for path in paths:
        if path == LIST:
            yield from pictures((line for raw in lines if (line := raw.rstrip("\r\n"))), lines)
        elif os.path.isdir(path):  # noqa: PTH112 - a path of bytes that are no UTF-8 stays as it is
            yield from _below(path)
        else:
            yield path


def _below(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted(
            (entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")
        )
    for name, is_folder in found:
        path = os.path.join(folder, name)  # noqa: PTH118 - a hundred thousand times
        if is_folder:
            yield from _below(path)
        elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
            yield path
