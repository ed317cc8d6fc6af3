"""What follows from all regions of a training in closed form: a memory and a bridge.

Either takes a region's classes from what the teacher, by all it knows of the images, makes of its
image (`fdbpl.methods.refinement`). No label is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.bridge import HeldOut, Pairs, held_out
from fdbpl.classify.discriminant import discriminant
from fdbpl.methods.batch import Floats
from fdbpl.methods.method import ClosedForm

if TYPE_CHECKING:
    from fdbpl.methods.training_data import TrainingData

MEMORY, BRIDGE = "memory", "bridge"

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class RegionMemory(ClosedForm):
    """The discriminant (C, D + 1) of the student's features of the classes learned.

    Attributes:
        by_area: whether a region counts with the share of its image that it shows, or as any other.
    """

    by_area: bool = True

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Read the features of the seed's regions once."""
        parts = (
            (student, classes, weights if self.by_area else np.ones_like(weights))
            for (student, _, weights), classes in data.samples(seed)
        )
        return {MEMORY: discriminant(parts).astype(np.float32)}, {}


@dataclass(frozen=True)
class Bridge(ClosedForm):
    """The bridge (D, 1 + D + E) of a seed's regions, if it helps on classes held out.

    There is none where it does no better than the student's own class vectors. An image's class is
    its likeliest; regions count with the share of their image that they show.

    Attributes:
        share: of the bridge beside the student's own class vectors.
    """

    share: float

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Read the features of the seed's regions twice; the seed draws the classes held out."""

        def regions() -> Iterator[tuple[Pairs, Ints]]:
            for pairs, classes in data.samples(seed):
                yield pairs, classes.argmax(axis=1)

        anchors, vectors = data.class_vectors()
        known = HeldOut(len(vectors), seed)
        for pairs, labels in regions():
            known.add(pairs, labels)
        without, with_bridge = held_out(known, regions(), anchors, vectors, self.share)
        is_better = with_bridge > without
        facts = {BRIDGE: {"built": is_better, "without": without, "with": with_bridge}}
        if not is_better:
            return {}, facts
        return {BRIDGE: known.whole().bridge().astype(np.float32)}, facts
