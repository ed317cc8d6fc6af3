"""Where a training stands: one that was interrupted goes on from there, and ends as if it were not.

A training of many classes takes hours. While one lasts, its contexts and all that the steps to
come depend on are written to a file now and then; small ones are done before anything is written.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fdbpl.clip.model import state_digest
from fdbpl.system.files import canonical_json, sha256, write_whole

SECONDS = 60.0  # at least, between two writings


@dataclass(frozen=True)
class Standing:
    """A training before a step of an epoch, both from 0; its tensors by name, in their order."""

    epoch: int
    step: int
    tensors: Mapping[str, Tensor]


class Interim:
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

    def load(self) -> Standing | None:
        """Return where the training stood, if it was interrupted."""
        try:
            with safe_open(self._path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                tensors = {name: file.get_tensor(name) for name in about["order"]}
            found = Standing(about["epoch"], about["step"], tensors)
            is_whole = about["digest"] == self._digest(found)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        if not is_whole:
            return None
        self._is_written, self.resumed = True, found.epoch
        return found

    def save_if_due(self, standing: Callable[[], Standing]) -> None:
        """Write where the training stands, unless that was done a short time ago."""
        if time.monotonic() - self._last >= SECONDS:
            self._save(standing())

    def finish(self, standing: Callable[[], Standing]) -> None:
        """Write the end of a training long enough to have been written before."""
        if self._is_written:
            self._save(standing())

    def remove(self) -> None:
        """Remove the file: what was learned is kept elsewhere now."""
        self._path.unlink(missing_ok=True)

    def _save(self, standing: Standing) -> None:
        tensors = {name: one.detach().cpu().clone() for name, one in standing.tensors.items()}
        about = {
            "epoch": standing.epoch,
            "step": standing.step,
            "order": list(tensors),
            "digest": self._digest(standing),
        }
        write_whole(self._path, save(tensors, metadata={"about": json.dumps(about)}))
        self._is_written, self._last = True, time.monotonic()

    def _digest(self, standing: Standing) -> str:
        """Return a digest of the training and of all that is known of where it stands."""
        place = [self._key, standing.epoch, standing.step, list(standing.tensors)]
        return sha256(canonical_json([*place, state_digest(standing.tensors)]))
