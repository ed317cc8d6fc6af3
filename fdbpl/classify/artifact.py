"""What was learned and what classifies, a safetensors file each: equal content in equal bytes.

A prompts file holds the numbers that a method learned and serves any class list. A classifier file
holds a decision over a list of classes and needs no text tower. Either carries ONE metadata key
with canonical JSON, because safetensors writes several in no stable order.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fdbpl.classify.decision import Decision
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, sha256, write_whole
from fdbpl.system.sealed import DIGEST, PLACE, is_sealed, sealed

KEY = "fdbpl"
REMEDY = "Wanted a file that fdbpl train-student wrote."
_LENGTH = 8  # bytes that hold the length of a safetensors header
_UNREADABLE = (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Artifact:
    """Arrays by name, and what they are.

    A prompts file has the tensors of its method: (M, W) of each context, "positive" and
    "negative", whatever else was learned, and what followed from the regions in closed form, such
    as "memory" (L, D + 1) and "bridge" (D, 1 + D + E). A classifier has the arrays of its
    decision, and of contexts their unit class vectors (C, D) under the same names. `about` says
    kind, method, what they were made with (`fdbpl.stages.made_with`), student (architecture,
    weights, activation), dataset, task, plan, class names, the template, seed and the keys of the
    trainings (`fdbpl.training.store`). The file also holds its digest (`fdbpl.system.sealed`).
    """

    arrays: Mapping[str, Floats]
    about: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.data)

    @property
    def data(self) -> bytes:
        """The bytes of the file.

        Raises:
            UserError: a number is not finite.
        """
        arrays = {name: np.ascontiguousarray(a, np.float32) for name, a in self.arrays.items()}
        unsound = _not_finite(arrays)
        if unsound is not None:
            raise UserError(
                f"{self.about.get('kind')} of method {self.about.get('method')!r}, seed "
                f"{self.about.get('seed')}: {unsound!r} is not finite, wanted finite numbers. "
                "Lower its shares or train.lr."
            )
        about = canonical_json({**self.about, DIGEST: PLACE})
        return sealed(save(arrays, metadata={KEY: about.decode()}))

    def save(self, path: Path) -> str:
        """Write the file whole; return its digest."""
        data = self.data
        write_whole(path, data)
        return sha256(data)

    @classmethod
    def load(cls, path: Path, kind: str, remedy: str = REMEDY) -> "Artifact":
        """Read a file of this kind ("prompts" or "classifier").

        Args:
            path: of the file.
            kind: wanted.
            remedy: what to do where it is none.

        Raises:
            UserError: there is none, it is damaged, or it is of another kind.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _none(path, kind, type(error).__name__, remedy) from None
        return cls.of(data, path, kind, remedy)

    @classmethod
    def of(cls, data: bytes, path: Path, kind: str, remedy: str = REMEDY) -> "Artifact":
        """Read the bytes of the file at `path`; see `load`."""
        try:
            arrays = dict(sorted(load(data).items()))
            header = json.loads(data[_LENGTH : _LENGTH + int.from_bytes(data[:_LENGTH], "little")])
            about = json.loads(header["__metadata__"][KEY])
            digest, found = about.pop(DIGEST), about["kind"]
        except _UNREADABLE as error:
            raise _none(path, kind, type(error).__name__, remedy) from None
        if not is_sealed(data, digest):
            raise _none(path, kind, "damaged: its digest is of other content", remedy)
        if found != kind:
            raise UserError(f"{path}: holds {found!r}, wanted {kind!r}. {remedy}")
        unsound = _not_finite(arrays)
        if unsound is not None:
            raise _none(path, kind, f"{unsound!r} is not finite", remedy)
        return cls(arrays, about)


def _none(path: Path, kind: str, why: str, remedy: str) -> UserError:
    return UserError(f"{path}: no {kind} of fdbpl ({why}). {remedy}")


def _not_finite(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """Return the name of the first array with a number that is not finite."""
    return next((name for name, one in arrays.items() if not np.isfinite(one).all()), None)


def classifier_of(
    decision: Decision, about: Mapping[str, Any], vectors: Mapping[str, Floats] | None = None
) -> Artifact:
    """Return the classifier file of a decision.

    Args:
        decision: over the class names that `about` has.
        about: see `Artifact`.
        vectors: unit class vectors (C, D) of contexts, by name.
    """
    arrays = {**(vectors or {}), **decision.arrays()}
    return Artifact(arrays, {"kind": "classifier", **about, "decision": decision.spec()})


def decision_of(classifier: Artifact) -> Decision:
    """Return what a classifier file decides by.

    Raises:
        UserError: the file is of another shape, as another fdbpl may have left it.
    """
    try:
        return Decision.of(classifier.arrays, classifier.about["decision"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"a classifier of {classifier.about.get('method')!r} lacks {error}: another fdbpl may "
            "have left it. Run fdbpl train-student again."
        ) from None
