"""Tip-Adapter (Zhang et al. 2022, section 3.1), without training.

    s f U^T + alpha exp(-beta (1 - f K^T)) L

The zero-shot logits, and the labels L of the shots weighted by how near their keys K are. A key is
the mean feature of a shot's regions, renormalised, as the released code averages over random crops.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fdbpl.classify.decision import Decision, KeyValueCache, by_name, unit
from fdbpl.methods.batch import Floats
from fdbpl.methods.method import Classes, ClosedForm, Method

if TYPE_CHECKING:
    from fdbpl.methods.training_data import TrainingData

ALPHA, BETA = 1.0, 5.5
"""Weight and sharpness of the cache model, the paper's defaults."""
KEYS, LABELS = "keys", "labels"


class TipAdapter(Method):
    """The shots as a cache model beside zero-shot; it knows the classes learned alone."""

    labelled = True
    transfers = False

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """The keys of the shots."""
        return (ShotKeys(),)

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return the template's logits, and the cache model's for the classes learned."""
        cache = cache_model(arrays[KEYS], arrays[LABELS], classes, ALPHA, BETA)
        return Decision(classes.text("template"), classes.scale, {"cache": cache})


@dataclass(frozen=True)
class ShotKeys(ClosedForm):
    """Keys (I, D) of the shots, and their labels (I,) among the classes learned."""

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Average the features of each shot's regions."""
        features, labels = data.labelled(seed)
        keys = unit(features.astype(np.float32).mean(axis=1))
        return {KEYS: keys, LABELS: labels.astype(np.float32)}, {}


def cache_model(
    keys: Floats, labels: Floats, classes: Classes, alpha: float, beta: float
) -> KeyValueCache:
    """Return a cache model of keys (I, D) whose labels (I,) are those of `classes`."""
    rows, seen = by_name(
        np.arange(len(classes.learned), dtype=float)[:, None], classes.learned, classes.names
    )
    place = np.full(len(classes.learned), -1.0, np.float32)
    known = np.flatnonzero(seen)
    place[rows[known, 0].astype(int)] = known
    return KeyValueCache(keys, place[labels.astype(int)], alpha, beta)
