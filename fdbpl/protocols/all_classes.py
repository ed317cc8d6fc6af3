"""All classes (Zhou et al. 2022, CoOp): the field's few-shot protocol, a curve over shots."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fdbpl.classify.decision import Decision
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.protocols.protocol import Classes, Labels, Protocol

ALL = "all"


def every_class(labels: Labels, names: Labels) -> Classes:
    """Return every class with training images as learned; every name competes."""
    return Classes(labels, {ALL: names})


def accuracy_over_all(
    features: NDArray[Any],
    labels: NDArray[Any],
    decision: Decision,
    tested: Mapping[str, Labels],
) -> dict[str, float]:
    """Return the accuracy where every class competes."""
    return {"accuracy": accuracy(features, labels, decision, tested[ALL])}


ALL_CLASSES = Protocol(
    name="all-classes",
    title="All classes",
    classes=every_class,
    measure=accuracy_over_all,
    learns_every_count=True,
    needs_labels=False,
)
"""Datasets whose training images have no class are learned under this one alone."""
