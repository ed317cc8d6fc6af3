"""A plan's regions in a file, so that nobody has to hold all of them: a .npy of REGION records."""

import io
import os
from collections.abc import Iterator, Sized
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fdbpl.regions.boxes import REGION
from fdbpl.regions.file_rows import FileRows, Rows

AT_ONCE = 1 << 18  # regions held at any time, 6.5 MB
NO_NPY = (ValueError, SyntaxError, TokenError)  # what numpy makes of a header that is none


class Regions(Sized, Protocol):
    """REGION records that are read by parts: an array, or rows of a file."""

    def __getitem__(self, part: slice | Rows) -> NDArray[np.void]:
        """Return the records of a slice, or of row numbers."""


def in_parts(regions: Regions) -> Iterator[NDArray[np.void]]:
    """Yield all regions in their order, some at a time."""
    for start in range(0, len(regions), AT_ONCE):
        yield regions[start : start + AT_ONCE]


def write_regions(path: Path, regions: Regions) -> None:
    """Write the regions as numpy.save writes an array of them."""
    with path.open("wb") as file:
        file.write(npy_header(REGION, len(regions)))
        for part in in_parts(regions):
            file.write(part.tobytes())


def npy_header(dtype: np.dtype[Any], count: int) -> bytes:
    """Return what stands before `count` records in a .npy."""
    about = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    header = io.BytesIO()
    npy.write_array_header_1_0(header, about)
    return header.getvalue()


def open_regions(path: Path) -> FileRows:
    """Return the regions of a file, which is open from now on and need not be writable.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is not whole, or no .npy of REGION records; or another of NO_NPY.
    """
    file = path.open("rb")
    try:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path}: .npy of version {version}, wanted (1, 0)")
        shape, _, dtype = npy.read_array_header_1_0(file)
        start = file.tell()
        count, rest = divmod(os.fstat(file.fileno()).st_size - start, REGION.itemsize)
        file.seek(0)
        if rest or file.read(start) != npy_header(REGION, count):
            raise ValueError(f"{path}: shape {shape} of {dtype}, wanted ({count},) of {REGION}")
    except BaseException:
        file.close()
        raise
    return FileRows(file, REGION, start)
