"""Rows of numbers beside memory, for what is known of every image of a large data set."""

import tempfile
from collections.abc import Sized
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fdbpl.regions.file_rows import FileRows, Rows
from fdbpl.system.errors import UserError


class Parts(Sized, Protocol):
    """Rows that are read by slices: a tensor, or rows in a file."""

    def __getitem__(self, part: slice) -> Tensor:
        """Return some of the rows (n, width)."""


class ScratchRows:
    """Rows (n, width) of float32 in a file without a name, mapped only while some are read.

    The file is gone when nobody reads it any more, or when the process ends, however it ends.
    """

    def __init__(self, width: int) -> None:
        """Begin without rows, in the folder for temporary files."""
        self.width = width
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - FileRows closes it
        self._rows = FileRows(self._file, np.dtype(("<f4", (width,))))

    def append(self, values: Tensor) -> None:
        """Write rows (n, width) behind those before.

        Raises:
            UserError: there is no room for them.
        """
        try:
            self._file.write(values.float().cpu().contiguous().numpy().data)
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()}: no more than {len(self):,} rows of knowledge of the "
                f"images could be written: {error.strerror}. Make room, or set TMPDIR to a folder "
                "on a larger disk."
            ) from None

    def at(self, rows: Rows) -> "ChosenRows":
        """Return the rows of these numbers, in their order; `append` may go on."""
        return ChosenRows(self._rows, rows)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows)

    def __getitem__(self, part: slice) -> Tensor:
        """Read the rows of a slice (n, width)."""
        return torch.from_numpy(self._rows[part])


class ChosenRows:
    """Rows of a file by an index (n,) of their numbers."""

    def __init__(self, rows: FileRows, index: Rows) -> None:
        """See rows of a file at the places of an index."""
        self._rows, self._index = rows, index

    def __len__(self) -> int:
        """The length of the index."""
        return len(self._index)

    def __getitem__(self, part: slice) -> Tensor:
        """Read the rows at a slice of the index."""
        return torch.from_numpy(self._rows[self._index[part]])
