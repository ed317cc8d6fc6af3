"""Gaussian discriminant analysis beside zero-shot (Wang et al. 2024): s f U^T + share * g(f).

g is the discriminant of the labelled regions of the shots, each of them a sample; it is nothing for
classes without shots, whatever competes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fdbpl.classify.decision import Decision, Discriminant, by_name
from fdbpl.classify.discriminant import discriminant
from fdbpl.methods.batch import Floats
from fdbpl.methods.method import Classes, ClosedForm, Method

if TYPE_CHECKING:
    from fdbpl.methods.training_data import TrainingData

SHARE = 0.5
"""Of the discriminant beside zero-shot: what `fdbpl` gives its memory."""
ROWS = "discriminant"


class Gda(Method):
    """The template, and the discriminant of the classes learned."""

    labelled = True
    transfers = False

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """The discriminant of the labelled regions."""
        return (LabelledRegions(),)

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return both, added for the classes learned."""
        rows, seen = by_name(arrays[ROWS], classes.learned, classes.names)
        parts = {ROWS: Discriminant(rows, seen, SHARE, "adds")}
        return Decision(classes.text("template"), classes.scale, parts)


@dataclass(frozen=True)
class LabelledRegions(ClosedForm):
    """The discriminant (C, D + 1) of the regions of a seed's shots by their labels."""

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Take every region as a sample."""
        features, labels = data.labelled(seed)
        _, crops, width = features.shape
        of_region = np.eye(len(data.names))[np.repeat(labels, crops)]
        samples = features.reshape(-1, width)
        return {ROWS: discriminant([(samples, of_region, np.ones(len(samples)))])}, {}
