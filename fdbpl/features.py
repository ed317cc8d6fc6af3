"""Where training takes a region's features from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Lookup = Callable[[Tensor], Tensor]
"""Rows (...) of the plan's regions to one model's unit features (..., D), in float32."""

FeatureSource = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows (...) to student features (..., D) and teacher features (..., E)."""


@dataclass(frozen=True)
class PairedFeatures:
    """The features of student and teacher, each from its own source."""

    student: Lookup
    teacher: Lookup

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ask both for the rows."""
        return self.student(rows), self.teacher(rows)


@dataclass(frozen=True)
class CachedColumn:
    """One model's features (R, D) of all regions in memory: all that is left of its tower."""

    features: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Look the rows up, in float32."""
        return self.features[rows].float()


@dataclass(frozen=True)
class Teacher:
    """The teacher's side of distillation: class vectors (C, E) and the scale of its logits."""

    vectors: Tensor
    scale: float

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log softmax over the classes (B, C) of unit features (B, E)."""
        return torch.log_softmax(self.scale * features @ self.vectors.T, dim=-1)
