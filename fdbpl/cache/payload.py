"""What a cache keeps of every view: its feature at some precision, or logits over a class list.

Features serve every class list, template, method and temperature. Logits are smaller where classes
are few, and tied to one class list, template and teacher. They are kept at scale 1: similarities
of the feature with each class's vector, to be multiplied by the teacher's scale. So they are
features themselves, in the space of the classes, whose class vectors are unit vectors of the axes:
every reader takes `scale * features @ vectors.T` whatever the payload.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fdbpl.blas import one_thread
from fdbpl.errors import UserError
from fdbpl.payload_names import WANTED, is_of_classes, require_known

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Columns = Mapping[str, Array]

_BLOCK = 256  # rows of every product, padded: so no row's bits depend on how many there are
_MOST_CLASSES = 1 << 16
_STEPS = 127  # of int8 to either side of zero


@dataclass(frozen=True)
class ClassList:
    """What logits are tied to, besides the teacher.

    Attributes:
        names: of all classes, by label.
        template: the sentence around each.
        learned: labels of those that are learned from, over which top-k logits are taken.
        temperature: whose scale top-k logits' rest is summed at, the teacher's own or the
            student's.
        scale: that scale.
    """

    names: tuple[str, ...]
    template: str
    learned: tuple[int, ...]
    temperature: Literal["own", "student"]
    scale: float


class Payload(Protocol):
    """One way to keep what a model makes of n views."""

    @property
    def fields(self) -> dict[str, Any]:
        """What the manifest says of it, and what another payload differs in."""

    @property
    def stored(self) -> Literal["float16", "float32"]:
        """The precision of the features in the region store that it is made from."""

    def row_bytes(self, dim: int) -> int:
        """Return the bytes of one view before compression, for features of width `dim`."""

    def encode(self, features: Floats, vectors: Floats | None) -> dict[str, Array]:
        """Return the columns of unit features (n, D); vectors (C, D) are the class vectors."""

    def decode(self, columns: Columns) -> Floats:
        """Return what the columns keep, (n, D) or for logits (n, C), ready to be compared."""

    def vectors(self, written: Floats) -> Floats:
        """Return the class vectors of what `decode` gives; written (C, D) are the teacher's own."""

    @property
    def of_tests(self) -> "Payload":
        """What is kept of test images: they are asked for all classes."""


@dataclass(frozen=True)
class Precise:
    """Features in a type of floating point."""

    stored: Literal["float16", "float32"]

    @property
    def fields(self) -> dict[str, Any]:  # noqa: D102 - as of Payload, here and below
        return {"name": self.stored}

    def row_bytes(self, dim: int) -> int:  # noqa: D102
        return dim * np.dtype(self.stored).itemsize

    def encode(self, features: Floats, vectors: Floats | None) -> dict[str, Array]:  # noqa: D102
        return {"feature": features.astype(self.stored, copy=False)}

    def decode(self, columns: Columns) -> Floats:  # noqa: D102
        return columns["feature"]

    def vectors(self, written: Floats) -> Floats:  # noqa: D102
        return written

    @property
    def of_tests(self) -> Payload:  # noqa: D102
        return self


@dataclass(frozen=True)
class Int8(Precise):
    """Features in whole steps of a scale of their own: feature = scale * step, -127 to 127."""

    stored: Literal["float16", "float32"] = "float16"

    @property
    def fields(self) -> dict[str, Any]:  # noqa: D102
        return {"name": "int8"}

    def row_bytes(self, dim: int) -> int:  # noqa: D102
        return dim + np.dtype(np.float32).itemsize

    def encode(self, features: Floats, vectors: Floats | None) -> dict[str, Array]:  # noqa: D102
        values = features.astype(np.float32)
        scale = np.abs(values).max(axis=1, initial=0) / np.float32(_STEPS)
        steps = values / np.where(scale > 0, scale, 1)[:, None]
        return {"feature": np.rint(steps).astype(np.int8), "scale": scale}

    def decode(self, columns: Columns) -> Floats:  # noqa: D102
        features: Floats = columns["feature"] * columns["scale"][:, None]
        return features


@dataclass(frozen=True)
class Logits:
    """Similarities with all classes, in full. A logit is the teacher's scale times that."""

    classes: ClassList
    stored: Literal["float16", "float32"] = "float16"

    @property
    def fields(self) -> dict[str, Any]:  # noqa: D102
        return {
            "name": "logits",
            "template": self.classes.template,
            "classes": list(self.classes.names),
        }

    def row_bytes(self, dim: int) -> int:  # noqa: D102
        return len(self.classes.names) * np.dtype(np.float32).itemsize

    def encode(self, features: Floats, vectors: Floats | None) -> dict[str, Array]:  # noqa: D102
        return {"logit": similarities(features, vectors)}

    def decode(self, columns: Columns) -> Floats:  # noqa: D102
        return columns["logit"]

    def vectors(self, written: Floats) -> Floats:  # noqa: D102
        return np.eye(len(self.classes.names), dtype=np.float32)

    @property
    def of_tests(self) -> Payload:  # noqa: D102
        return self


@dataclass(frozen=True)
class TopLogits(Logits):
    """The `count` highest similarities among the learned classes, and the rest as one number.

    The rest is the log-sum-exp of scale times the other learned classes' similarities. It is
    spread evenly over them, so that the softmax of those that are kept is exact at that scale,
    and no class has probability 0. Classes that are not learned decode as 0.
    """

    count: int = 1

    @property
    def fields(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().fields,
            "name": f"top{self.count}",
            "learned": list(self.classes.learned),
            "temperature": self.classes.temperature,
            "scale": self.classes.scale,
        }

    @property
    def _kept(self) -> int:
        return min(self.count, len(self.classes.learned))

    def row_bytes(self, dim: int) -> int:  # noqa: D102
        return 6 * self._kept + 4

    def encode(self, features: Floats, vectors: Floats | None) -> dict[str, Array]:  # noqa: D102
        among = similarities(features, vectors)[:, self.classes.learned]
        order = np.argsort(-among, axis=1, kind="stable")
        best, others = order[:, : self._kept], order[:, self._kept :]
        rest = self.classes.scale * np.take_along_axis(among, others, axis=1).astype(np.float64)
        return {
            "class": np.asarray(self.classes.learned, np.uint16)[best],
            "logit": np.take_along_axis(among, best, axis=1),
            "rest": np.logaddexp.reduce(rest, axis=1, initial=-np.inf).astype(np.float32),
        }

    def decode(self, columns: Columns) -> Floats:  # noqa: D102
        found = np.zeros((len(columns["rest"]), len(self.classes.names)), np.float32)
        others = len(self.classes.learned) - self._kept
        if others:
            level = (columns["rest"] - np.log(np.float32(others))) / np.float32(self.classes.scale)
            found[:, self.classes.learned] = level[:, None]
        np.put_along_axis(found, columns["class"].astype(np.int64), columns["logit"], axis=1)
        return found

    @property
    def of_tests(self) -> Payload:  # noqa: D102
        return Logits(self.classes)


FLOAT16 = Precise("float16")
FLOAT32 = Precise("float32")


def make_payload(name: str, classes: ClassList | None = None) -> Payload:
    """Return the payload called `name`.

    Raises:
        ValueError: no payload has this name, or it is of logits and no classes are given.
    """
    require_known(name)
    if name == "int8":
        return Int8()
    if not is_of_classes(name):
        return FLOAT32 if name == "float32" else FLOAT16
    if classes is None or len(classes.names) > _MOST_CLASSES:
        raise ValueError(f"payload {name!r} needs a class list of at most {_MOST_CLASSES:,} names")
    return Logits(classes) if name == "logits" else TopLogits(classes, count=int(name[3:]))


def payload_of(fields: Mapping[str, Any]) -> Payload:
    """Return the payload that a manifest's `fields` describe.

    Raises:
        UserError: they describe none that this fdbpl knows.
    """
    try:
        name = fields["name"]
        if not is_of_classes(name):
            return make_payload(name)
        classes = ClassList(
            tuple(fields["classes"]),
            fields["template"],
            tuple(fields.get("learned", ())),
            fields.get("temperature", "own"),
            fields.get("scale", 1.0),
        )
        return make_payload(name, classes)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"payload {dict(fields)!r} is none that this fdbpl reads, wanted {WANTED}: read it "
            "with the fdbpl that wrote it, or build the cache again."
        ) from None


def similarities(features: Floats, vectors: Floats | None) -> NDArray[np.float32]:
    """Return (n, C) products of unit features (n, D) with class vectors (C, D), in float32.

    A row's bits depend neither on the other rows nor on the number of threads.

    Raises:
        ValueError: no class vectors.
    """
    if vectors is None:
        raise ValueError("a payload of logits needs the text 'template'")
    right = np.ascontiguousarray(vectors.T, np.float32)
    found = np.empty((len(features), right.shape[1]), np.float32)
    block = np.zeros((_BLOCK, features.shape[1]), np.float32)
    with one_thread():
        for start in range(0, len(features), _BLOCK):
            part = features[start : start + _BLOCK]
            block[: len(part)] = part
            found[start : start + _BLOCK] = (block @ right)[: len(part)]
    return found
