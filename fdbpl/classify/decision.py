"""What decides between classes: from image features to logits, in numpy and as plain data.

A decision is complete in itself: it needs neither a model nor the method that made it, and is
right whatever classes compete, learned or never seen.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.discriminant import values
from fdbpl.classify.projector import Projector

Floats = NDArray[np.floating[Any]]

CachedRole = Literal["student", "teacher", "hidden"]
"""Whose features: the student's, the teacher's, or the student's before its last projection."""

Role = CachedRole | Literal["prompted"]
"""Or the student's under the decision's own image prompts, which no cache has."""


@dataclass(frozen=True)
class Discriminant:
    """Linear functions of the features, one a class, for some of the classes.

    Attributes:
        rows: (C, D + 1) weights and offset by label; 0 for the classes it does not know.
        seen: (C,) 1 for the classes it knows, else 0.
        share: of its values in the logits.
        unseen: what it does where classes compete that it does not know: it is "silent", so that
            no class wins by being known; it "adds" to the known ones all the same; or its values
            "replace" the logits of the known ones, there and everywhere.
        before_projection: whether it judges features as they are before the decision's projection.
    """

    rows: Floats
    seen: Floats
    share: float
    unseen: Literal["silent", "adds", "replaces"] = "adds"
    before_projection: bool = False

    def applied(self, logits: Floats, features: Floats, classes: NDArray[Any]) -> Floats:
        """Return the logits (n, L) of features (n, D) for classes (L,), with its own in them."""
        seen = np.asarray(self.seen[classes], bool)
        if self.unseen == "silent" and not seen.all():
            return logits
        own = self.share * values(self.rows[classes], features)
        return np.where(seen, own, logits) if self.unseen == "replaces" else logits + own


@dataclass(frozen=True)
class KeyValueCache:
    """Tip-Adapter's cache model (Zhang et al. 2022): alpha exp(-beta (1 - f K^T)) L.

    Attributes:
        keys: K (N, D) features of labelled images.
        labels: (N,) their labels: L has a 1 there in each row.
        alpha: its weight in the logits.
        beta: its sharpness.
    """

    keys: Floats
    labels: Floats
    alpha: float
    beta: float
    before_projection: ClassVar[bool] = False

    def applied(self, logits: Floats, features: Floats, classes: NDArray[Any]) -> Floats:
        """Return the logits (n, L) of features (n, D) for classes (L,), with its own in them."""
        near = np.exp(-self.beta * (1 - np.asarray(features, np.float32) @ self.keys.T))
        of_class = (self.labels[:, None] == classes).astype(np.float32)
        return logits + self.alpha * (near @ of_class)


Part = Discriminant | KeyValueCache

_KINDS: Mapping[str, type[Part]] = MappingProxyType(
    {"discriminant": Discriminant, "key_value_cache": KeyValueCache}
)
_VECTORS, _PROJECTION, _PROJECTOR = "decision", "projection", "projector"
_IMAGE_PROMPTS, _FIRST_LAYER = "image_prompts", "first_layer"


@dataclass(frozen=True)
class ImagePrompts:
    """Learned tokens of the student's image tower; see `fdbpl.clip.prompted_image`.

    Attributes:
        tokens: (J, P, W) of J consecutive layers.
        first_layer: at which they enter, from 0.
    """

    tokens: Floats
    first_layer: int = 0


@dataclass(frozen=True)
class Decision:
    """A classifier over C classes: scaled cosines, and what else counts, in order.

    Attributes:
        vectors: (C, D) unit vectors, by label.
        scale: of the cosines: exp(logit_scale) of the student.
        parts: by name, each applied to the logits of what stands before it.
        projection: (E, D), through which features (n, E) come, brought to unit length then, before
            all but the parts that judge them as they are; None where all does.
        sees: whose features it judges.
        image_prompts: under which the student encodes images for it, where it sees "prompted".
        projector: in place of `projection`, of two layers.
    """

    vectors: Floats
    scale: float = 1.0
    parts: Mapping[str, Part] = field(default_factory=dict)
    projection: Floats | None = None
    sees: Role = "student"
    image_prompts: ImagePrompts | None = None
    projector: Projector | None = None

    def logits(self, features: Floats, among: Sequence[int] | NDArray[Any]) -> Floats:
        """Return the logits (n, len(among)) of unit features (n, D) for the labels that compete."""
        classes, before = np.asarray(among), np.asarray(features, np.float32)
        seen = before
        if self.projection is not None:
            seen = unit(before @ np.asarray(self.projection, np.float32))
        if self.projector is not None:
            seen = unit(self.projector(before))
        found: Floats = self.scale * (seen @ np.asarray(self.vectors[classes], np.float32).T)
        for part in self.parts.values():
            found = part.applied(found, before if part.before_projection else seen, classes)
        return found

    def arrays(self) -> dict[str, Floats]:
        """Return its arrays by name, as a file keeps them beside `spec`."""
        found = {_VECTORS: self.vectors}
        if self.projection is not None:
            found[_PROJECTION] = self.projection
        if self.image_prompts is not None:
            found[_IMAGE_PROMPTS] = self.image_prompts.tokens
        if self.projector is not None:
            found |= {f"{_PROJECTOR}.{key}": one for key, one in vars(self.projector).items()}
        for name, part in self.parts.items():
            found |= {f"{name}.{key}": one for key, one in vars(part).items() if _is_array(one)}
        return found

    def spec(self) -> dict[str, Any]:
        """Return all but its arrays, as plain values."""
        kinds = {kind: name for name, kind in _KINDS.items()}
        parts = [
            {
                "name": name,
                "kind": kinds[type(part)],
                **{key: one for key, one in vars(part).items() if not _is_array(one)},
            }
            for name, part in self.parts.items()
        ]
        found = {"scale": self.scale, "sees": self.sees, "parts": parts}
        if self.image_prompts is not None:
            found[_FIRST_LAYER] = self.image_prompts.first_layer
        return found

    @classmethod
    def of(cls, arrays: Mapping[str, Floats], spec: Mapping[str, Any]) -> "Decision":
        """Return the decision that gave these arrays and this `spec`.

        Raises:
            KeyError: an array or a key is missing.
        """
        parts: dict[str, Part] = {}
        for one in spec["parts"]:
            name, kind = one["name"], _KINDS[one["kind"]]
            known: dict[str, Any] = {
                key.name: one[key.name] if key.name in one else arrays[f"{name}.{key.name}"]
                for key in fields(kind)
            }
            parts[name] = kind(**known)
        prompts = projector = None
        if _FIRST_LAYER in spec:
            prompts = ImagePrompts(arrays[_IMAGE_PROMPTS], spec[_FIRST_LAYER])
        if f"{_PROJECTOR}.first" in arrays:
            projector = Projector(
                **{key.name: arrays[f"{_PROJECTOR}.{key.name}"] for key in fields(Projector)}
            )
        return cls(
            vectors=arrays[_VECTORS],
            scale=spec["scale"],
            parts=parts,
            projection=arrays.get(_PROJECTION),
            sees=spec["sees"],
            image_prompts=prompts,
            projector=projector,
        )


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def by_name(
    rows: Floats, known: Sequence[str], class_names: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lay out rows (L, N) of known classes over any list: rows (C, N), and (C,) which are known.

    Classes are told by name; of several with one name the first is the first, and so on.
    """
    row_of = dict(zip(_occurrences(known), rows, strict=True))
    nothing = np.zeros(rows.shape[1], np.float32)
    found = list(_occurrences(class_names))
    return (
        np.stack([row_of.get(one, nothing) for one in found]).astype(np.float32),
        np.array([one in row_of for one in found], np.float32),
    )


def _occurrences(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each name with how often it stood before."""
    before: Counter[str] = Counter()
    for name in names:
        yield name, before[name]
        before[name] += 1


def unit(vectors: Floats) -> NDArray[np.float32]:
    """Return vectors (..., D) brought to length 1."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return found
