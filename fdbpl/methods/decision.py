"""What decides between classes: class vectors, a bridge to the teacher, a memory of regions."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdbpl.methods.discriminant import values

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Memory:
    """What the regions of training say of the classes they show.

    Attributes:
        discriminant: (C, D + 1) as `fdbpl.methods.discriminant` gives, by label; rows of classes
            that training never saw mean nothing.
        seen: (C,) whether training saw the class.
        share: of the discriminants' values in the logits.
        always: whether it speaks for the classes seen whatever competes with them; else only where
            training saw all that compete.
    """

    discriminant: Floats
    seen: NDArray[np.bool_]
    share: float
    always: bool = False

    @classmethod
    def over(
        cls,
        discriminant: Floats,
        learned_names: Sequence[str],
        class_names: Sequence[str],
        share: float,
        always: bool = False,
    ) -> "Memory":
        """Lay out the rows (L, D + 1) of the classes learned over the C classes of any list.

        Classes are told by name; of several with one name the first is the first, and so on.
        """
        rows = dict(zip(_occurrences(learned_names), discriminant, strict=True))
        nothing = np.zeros(discriminant.shape[1], np.float32)
        found = list(_occurrences(class_names))
        return cls(
            discriminant=np.stack([rows.get(one, nothing) for one in found]).astype(np.float32),
            seen=np.array([one in rows for one in found]),
            share=share,
            always=always,
        )


class Classifies(Protocol):
    """What gives logits for the labels that compete."""

    def logits(self, features: Floats, among: Sequence[int] | NDArray[Any]) -> Floats:
        """Return the logits (n, len(among)) of unit features (n, D)."""


@dataclass(frozen=True)
class SideBySide:
    """A classifier of some classes, and another one's logits for all others, as they are.

    Attributes:
        scores: unit features (n, D) to logits (n, B) of the B classes it knows.
        known: (B,) their labels, ascending.
        others: decides of the rest.
    """

    scores: Callable[[Floats], Floats]
    known: NDArray[np.integer[Any]]
    others: "Decision"

    def logits(self, features: Floats, among: Sequence[int] | NDArray[Any]) -> Floats:
        """Return the logits (n, len(among)) of unit features (n, D) for the labels that compete."""
        classes = np.asarray(among)
        found = np.asarray(self.others.logits(features, classes), np.float64)
        is_known = np.isin(classes, self.known)
        if is_known.any():
            columns = np.searchsorted(self.known, classes[is_known])
            found[:, is_known] = self.scores(features)[:, columns]
        return found


@dataclass(frozen=True)
class Decision:
    """A classifier over C classes.

    Attributes:
        vectors: (C, D) unit vectors, by label.
        scale: of the logits: exp(logit_scale) of the model whose features are judged.
        memory: of a method that has one.
        bridged: (C, D + 1) weights and offsets of what a bridge to the teacher adds to the
            cosines, by label, of a method that has one.
    """

    vectors: Floats
    scale: float = 1.0
    memory: Memory | None = None
    bridged: Floats | None = None

    def logits(self, features: Floats, among: Sequence[int] | NDArray[Any]) -> Floats:
        """Return the logits (n, len(among)) of unit features (n, D) for the labels that compete.

        By default the memory speaks only where training saw all that compete: of any other class
        it knows nothing, and a seen one must not win by being known.
        """
        classes = np.asarray(among)
        found = self.scale * (
            np.asarray(features, np.float32) @ np.asarray(self.vectors[classes], np.float32).T
        )
        if self.bridged is not None:
            found = found + self.scale * values(self.bridged[classes], features)
        memory = self.memory
        if memory is None or not (memory.always or memory.seen[classes].all()):
            return found
        return found + memory.share * values(memory.discriminant[classes], features)


def _occurrences(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each name with how often it stood before."""
    before: Counter[str] = Counter()
    for name in names:
        yield name, before[name]
        before[name] += 1
