"""What was measured of a model on pictures that it was not learned from, as plain values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.evaluation.calibration import KEPT, Calibration
from fdbpl.evaluation.logits import logsumexp

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

HELD_OUT = "held-out pictures"
TEST_IMAGES = "test images"
"""What a model is measured and calibrated on, as `made` says under `calibrated_on`."""

Z = 1.96
WEAKEST = 5


def figures_of(
    logits: Floats, labels: Ints, names: Sequence[str], calibration: Calibration
) -> dict[str, Any]:
    """Return what is measured of a classifier, all its classes competing.

    `pictures`, how many; `accuracy` in per cent, `low` and `high` of its 95 % interval (Wilson
    1927); `classes`, for each class what its pictures were taken for, most often first; `kept` and
    `refused`, by threshold, per cent of the pictures whose score reaches it, and of them with
    their own class taken off the list, as pictures of an unknown class are, whose score does not.

    Args:
        logits: (n, C) of n >= 1 pictures.
        labels: (n,) of their classes.
        names: C of them.
        calibration: of the classifier.
    """
    taken = logits.argmax(axis=1)
    right = float(np.mean(taken == labels))
    low, high = wilson(right, len(labels))
    unknown = _reaching(without_own_class(logits, labels), calibration)
    return {
        "pictures": len(labels),
        "accuracy": 100 * right,
        "low": 100 * low,
        "high": 100 * high,
        "classes": _classes(taken, labels, names),
        "kept": _reaching(logits, calibration),
        "refused": {kept: 100 - share for kept, share in unknown.items()},
    }


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share seen in `count` cases (Wilson 1927)."""
    spread = Z * sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    middle, whole = share + Z**2 / (2 * count), 1 + Z**2 / count
    return (middle - spread) / whole, (middle + spread) / whole


def without_own_class(logits: Floats, labels: Ints) -> NDArray[np.float64]:
    """Return the logits (n, C) of pictures with -inf for the class (n,) that each one shows."""
    found = np.array(logits, np.float64)
    found[np.arange(len(found)), labels] = -np.inf
    return found


def _reaching(logits: Floats, calibration: Calibration) -> dict[str, float]:
    """Return per cent by threshold; the keys are words, as JSON has them."""
    scores, limits = logsumexp(logits), calibration.thresholds
    return {str(kept): 100 * float(np.mean(scores >= limits[kept])) for kept in KEPT}


def _classes(taken: Ints, labels: Ints, names: Sequence[str]) -> dict[str, dict[str, int]]:
    found = {}
    for label, name in enumerate(names):
        counts = Counter(taken[labels == label].tolist())
        found[name] = {names[one]: count for one, count in counts.most_common()}
    return found


def weakest(classes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Name the classes that are found least often, and what they are taken for."""
    shares = {
        name: taken.get(name, 0) / sum(taken.values()) for name, taken in classes.items() if taken
    }
    chosen = [name for name in sorted(shares, key=lambda one: shares[one]) if shares[name] < 1]
    return [
        f"{name} {shares[name]:.0%}{_taken_for(name, classes[name])}" for name in chosen[:WEAKEST]
    ]


def _taken_for(name: str, taken: Mapping[str, int]) -> str:
    total = sum(taken.values())
    others = [(other, count) for other, count in taken.items() if other != name][:2]
    said = ", ".join(f"{other} {count / total:.0%}" for other, count in others)
    return f", taken for {said}" if said else ""
