"""A memory of what the regions of each class look like, in closed form.

A region's class is what the teacher, by all it knows of the images, makes of its image
(`fdbpl.methods.refinement`). No label is read.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fdbpl.classify.discriminant import discriminant
from fdbpl.methods.batch import Floats
from fdbpl.methods.method import ClosedForm

if TYPE_CHECKING:
    from fdbpl.methods.training_data import TrainingData

MEMORY = "memory"


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
