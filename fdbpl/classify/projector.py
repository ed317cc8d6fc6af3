"""A map of two layers between the features of two models, in numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Projector:
    """relu(f A + a) B + b: PromptKD's projector (Li et al. 2024), its batch norm taken into A, a.

    Attributes:
        first: A (D, N).
        first_offset: a (N,).
        second: B (N, E).
        second_offset: b (E,).
    """

    first: Floats
    first_offset: Floats
    second: Floats
    second_offset: Floats

    def __call__(self, features: Floats) -> Floats:
        """Return features (n, E) of features (n, D)."""
        hidden = np.maximum(features @ self.first + self.first_offset, 0)
        found: Floats = hidden @ self.second + self.second_offset
        return found
