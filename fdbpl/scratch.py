"""Rows of numbers beside memory, for what is known of every image of a large data set."""

from collections.abc import Sized
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Parts(Sized, Protocol):
    """Rows that are read by slices: a tensor, or rows in a file."""

    def __getitem__(self, part: slice) -> Tensor:
        """Return some of the rows (n, width)."""


class ScratchRows:
    """Rows (n, width) of float32 in a file, mapped only while some are read."""

    def __init__(self, path: Path, width: int, rows: NDArray[np.int64] | None = None) -> None:
        """Begin a file; or see some `rows` of one, in their order."""
        self._path, self._width, self._rows = path, width, rows

    def append(self, values: Tensor) -> None:
        """Write rows (n, width) behind those before."""
        with self._path.open("ab") as file:
            values.contiguous().numpy().tofile(file)

    def at(self, rows: NDArray[np.int64]) -> "ScratchRows":
        """Return these rows as rows of their own, in this order."""
        return ScratchRows(self._path, self._width, rows)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._mapped()) if self._rows is None else len(self._rows)

    def __getitem__(self, part: slice) -> Tensor:
        """Read the rows of a slice (n, width)."""
        wanted = part if self._rows is None else self._rows[part]
        return torch.from_numpy(np.array(self._mapped()[wanted]))

    def _mapped(self) -> NDArray[np.float32]:
        return np.memmap(self._path, np.float32, "r").reshape(-1, self._width)
