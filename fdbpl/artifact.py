"""Prompts and classifiers as files: one safetensors file each, equal content in equal bytes.

A prompts file holds the learned contexts and loads on any class list. A classifier file holds
unit vectors of every class and needs no text tower. Either carries
ONE metadata key with canonical JSON, because safetensors writes several in no stable order.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from fdbpl.methods.decision import Decision, Memory
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, sha256, write_whole

KEY = "fdbpl"
SIDES = ("positive", "negative")
MEMORY = "memory"
BRIDGE, BRIDGED = "bridge", "bridged"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Artifact:
    """Arrays by side ("positive", "negative"), and what they are.

    A prompts file has (M, W) arrays, a classifier (C, D), and `decision`, the (C, D) unit vectors
    that classify: the positive side's, or what the method makes of both sides; of a method that
    learns no context neither has a side. Where the method
    remembers regions either has `memory`, (L, D + 1) for the L classes learned; where it built a
    bridge, prompts have `bridge`, (D, 1 + D + E), and a classifier has `bridged`, (C, D + 1), what
    it adds to the cosines (`fdbpl.methods.bridge`). `about` says kind, method, what they were made
    with (`fdbpl.stages.made_with`), student (architecture, weights, activation), dataset, plan,
    class names, the template, what classifies, and seed.
    """

    arrays: Mapping[str, Floats]
    about: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256(self._bytes())

    def _bytes(self) -> bytes:
        arrays = {side: np.ascontiguousarray(a, np.float32) for side, a in self.arrays.items()}
        return bytes(save(arrays, metadata={KEY: canonical_json(self.about).decode()}))

    def save(self, path: Path) -> str:
        """Write the file whole; return its digest."""
        data = self._bytes()
        write_whole(path, data)
        return sha256(data)

    @classmethod
    def load(cls, path: Path, kind: str) -> "Artifact":
        """Read a file of this kind ("prompts" or "classifier").

        Raises:
            UserError: there is none, it is damaged, or it is of another kind.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})[KEY])
                found = about["kind"]
                arrays = {side: file.get_tensor(side) for side in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: no {kind} of fdbpl ({type(error).__name__}). "
                "Wanted a file that fdbpl train-student wrote."
            ) from None
        if found != kind:
            raise UserError(f"{path}: holds {found!r}, wanted {kind!r}.")
        return cls(arrays, about)


def sides_of(stack: Floats) -> dict[str, Floats]:
    """Name the slices of a stack (K, ...): positive, and negative where K is 2."""
    return dict(zip(SIDES, stack, strict=False))


def decision_of(classifier: Artifact) -> Decision:
    """Return what a classifier file decides by."""
    about = classifier.about
    memory = None
    if MEMORY in classifier.arrays:
        memory = Memory.over(
            classifier.arrays[MEMORY],
            about["learned_classes"],
            about["class_names"],
            about["inference"]["memory_share"],
            about["inference"]["gda"],
        )
    arrays = classifier.arrays
    return Decision(arrays["decision"], about["logit_scale"], memory, arrays.get(BRIDGED))


def stack_of(arrays: Mapping[str, Floats]) -> Floats:
    """Return the stack (K, ...) of the sides there are, positive first; (0, 0, 0) of none."""
    found = [arrays[side] for side in SIDES if side in arrays]
    return np.stack(found) if found else np.empty((0, 0, 0), np.float32)
