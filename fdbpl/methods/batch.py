"""What every objective reads, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from fdbpl.errors import UserError

Terms = Mapping[str, Tensor]
"""Weighted terms (...) by name, one value a run; the loss is their sum."""

Extra = Literal["anchors", "areas", "levels", "refined"]


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
        levels: (..., N) informativeness of all regions that the run learns from, ascending.
        refined: (..., B, C) log-probabilities for the region's image, by
            `fdbpl.training.refinement`.

    The last four are None where nobody gave them.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor
    anchors: Tensor | None = None
    areas: Tensor | None = None
    levels: Tensor | None = None
    refined: Tensor | None = None

    def require(self, extra: Extra) -> Tensor:
        """Return one of the last four.

        Raises:
            UserError: there is none.
        """
        found: Tensor | None = getattr(self, extra)
        if found is None:
            raise UserError(
                f"this method needs {extra}, and none were given. Pass learn({extra}=...)."
                if extra in ("anchors", "areas")
                else f"this method needs {extra}: name it in its `needs`."
            )
        return found


class Objective(Protocol):
    """A training objective over text features and a batch of regions."""

    def __call__(self, batch: Batch, text: Tensor, scale: float) -> Terms:
        """Return the terms for unit text features (..., K, C, D), one set per context."""
