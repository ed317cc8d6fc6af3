"""What every loss reads, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdbpl.system.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.floating[Any]]

Terms = Mapping[str, "Tensor"]
"""Weighted terms (...) by name, one value a run; the loss is their sum."""

Tensors = Mapping[str, "Tensor"]
"""Tensors by name, each with a leading dimension S of independent runs, one a seed."""


@dataclass(frozen=True)
class Batch:
    """B regions of each seed; any leading dimensions (S for the seeds) are independent runs.

    Attributes:
        student: (..., B, D) unit image features of the student.
        teacher: (..., B, C) log-probabilities of the teacher over the classes.
        labels: (..., B) the labels of the images the regions were cut from; only methods that
            say so read them.
        anchors: (..., C, D) the student's unit class features under a hand-written template, which
            some methods keep near to.
        areas: (..., B) the share of its image that a region shows.
        beside: (..., B, C) logits of what decides beside the class vectors.
        pixels: (..., B, 3, S, S) of the regions, uint8; `fdbpl.methods.pixels.normalised` makes
            the student's input of them.
        activations: (..., B, (1 + N) W) that the student's image tower is given at a layer.

    The last five are None where nobody gave them.
    """

    student: "Tensor"
    teacher: "Tensor"
    labels: "Tensor"
    anchors: "Tensor | None" = None
    areas: "Tensor | None" = None
    beside: "Tensor | None" = None
    pixels: "Tensor | None" = None
    activations: "Tensor | None" = None

    def logits(self, vectors: "Tensor", scale: float) -> "Tensor":
        """Return s f U^T (..., B, C) of unit class vectors U (..., C, D), and what is beside."""
        found = scale * self.student @ vectors.mT
        return found if self.beside is None else found + self.beside

    def require(self, extra: Literal["anchors", "areas", "pixels", "activations"]) -> "Tensor":
        """Return the anchors, the areas, the pixels or the activations.

        Raises:
            UserError: there is none.
        """
        found: Tensor | None = getattr(self, extra)
        if found is None:
            raise UserError(
                f"this method needs {extra}, and none were given. Pass learn({extra}=...)."
            )
        return found
