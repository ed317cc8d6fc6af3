"""Where training takes a region's features from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FeatureSource = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows (B,) of the plan's regions to student features (B, D) and teacher features (B, E)."""


@dataclass(frozen=True)
class CachedFeatures:
    """Features of all regions in memory: a look-up is all that is left of both image towers.

    Attributes:
        student: (R, D) unit features of the student.
        teacher: (R, E) unit features of the teacher.
    """

    student: Tensor
    teacher: Tensor

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Look the rows up, in float32."""
        return self.student[rows].float(), self.teacher[rows].float()


@dataclass(frozen=True)
class Teacher:
    """The teacher's side of distillation: class vectors (C, E) and the scale of its logits."""

    vectors: Tensor
    scale: float

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log softmax over the classes (B, C) of unit features (B, E)."""
        return torch.log_softmax(self.scale * features @ self.vectors.T, dim=-1)
