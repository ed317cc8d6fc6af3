"""Rows of a file, read by parts: for what is known of every region or image of a large data set."""

import mmap
import os
import weakref
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer[Any]]


class FileRows:
    """Rows of one dtype in an open file, which is mapped only while some of them are read.

    So memory holds no row that nobody has asked for, nor one that was asked for before. The file
    stays open as long as this object lives: another that takes its name, or its name's end,
    changes no row.
    """

    def __init__(self, file: BinaryIO, dtype: np.dtype[Any], start: int = 0) -> None:
        """See the rows from byte `start` to the file's end, though it may grow; own the file.

        dtype: of one row; with a shape of its own for rows of several numbers.
        """
        self._file, self._dtype, self._start = file, dtype, start
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        """The number of whole rows."""
        held = os.fstat(self._file.fileno()).st_size - self._start
        return max(0, held) // self._dtype.itemsize

    def __getitem__(self, part: slice | Rows) -> NDArray[Any]:
        """Read the rows of a slice, or those of an array of row numbers, in its shape."""
        found = self._mapped()[part]
        return found.copy() if isinstance(part, slice) else found  # an array's rows are a copy

    def _mapped(self) -> NDArray[Any]:
        if not len(self):  # an empty file cannot be mapped
            return np.empty(0, self._dtype)
        file = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(file, self._dtype, len(self), self._start)
