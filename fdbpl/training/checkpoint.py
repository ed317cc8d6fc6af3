"""Where a training stands: one that was interrupted goes on from there, and ends as if it were not.

A training of many classes takes hours. While one lasts, its tensors and all that the steps to come
depend on are written to a file now and then; small ones are done before anything is written.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fdbpl.training.tensor_file import read_tensors, write_tensors

SECONDS = 60.0  # at least, between two writings


@dataclass(frozen=True)
class State:
    """A training before a step of an epoch, both from 0; its tensors by name, in their order."""

    epoch: int
    step: int
    tensors: Mapping[str, Tensor]


class Checkpoint:
    """The file of one training.

    Args:
        path: of the file.
        key: a digest of all that decides the training. What stands there of another is ignored,
            and so is a damaged file.
    """

    def __init__(self, path: Path, key: str) -> None:
        """Nothing is read or written yet."""
        self._path, self._key = path, key
        self._is_written, self._last = False, time.monotonic()
        self.resumed: int | None = None
        """The epoch, from 0, in which the training went on, if it did."""

    def load(self) -> State | None:
        """Return where the training stood, if it was interrupted."""
        found = read_tensors(self._path, self._key)
        if found is None:
            return None
        tensors, about = found
        self._is_written, self.resumed = True, about["epoch"]
        return State(about["epoch"], about["step"], tensors)

    def save_if_due(self, state: Callable[[], State]) -> None:
        """Write where the training stands, unless that was done a short time ago."""
        if time.monotonic() - self._last >= SECONDS:
            self._save(state())

    def finish(self, state: Callable[[], State]) -> None:
        """Write the end of a training long enough to have been written before."""
        if self._is_written:
            self._save(state())

    def remove(self) -> None:
        """Remove the file: what was learned is kept elsewhere now."""
        self._path.unlink(missing_ok=True)

    def _save(self, state: State) -> None:
        about = {"epoch": state.epoch, "step": state.step}
        write_tensors(self._path, self._key, state.tensors, about)
        self._is_written, self._last = True, time.monotonic()
