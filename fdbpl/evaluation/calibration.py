"""How sure a classifier is, made true on held-out images: a temperature, and thresholds.

Numpy alone; logits z (n, C) are those of images that the classifier was not learned from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.evaluation.logits import Doubles, Floats, log_softmax, logsumexp

KEPT = (90, 95, 99)
"""Per cent of known images that each threshold keeps."""


@dataclass(frozen=True)
class Calibration:
    """What turns logits into probabilities, and scores into known or not.

    Attributes:
        temperature: T of softmax(z / T) (Guo et al. 2017).
        thresholds: by the per cent of known images kept, the score from which an image counts as
            known. The score is the energy log sum exp z (Liu et al. 2020).
    """

    temperature: float
    thresholds: Mapping[int, float]

    def probabilities(self, logits: Floats) -> Doubles:
        """Return softmax(z / T), (n, C)."""
        found: Doubles = np.exp(log_softmax(np.asarray(logits, np.float64) / self.temperature))
        return found


def calibrate(logits: Floats, labels: NDArray[np.integer[Any]]) -> Calibration:
    """Return the calibration of a classifier by held-out images.

    Args:
        logits: z (n, C), n >= 1.
        labels: (n,).
    """
    scores = logsumexp(logits)
    thresholds = {kept: threshold(scores, kept / 100) for kept in KEPT}
    return Calibration(temperature(logits, labels), thresholds)


def temperature(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the T between 1/20 and 20 under which the labels are likeliest."""
    from scipy.optimize import minimize_scalar  # takes a third of a second, and only this needs it

    z = np.asarray(logits, np.float64)
    rows = np.arange(len(z))

    def loss(power: float) -> float:
        return -float(log_softmax(z / np.exp(power))[rows, labels].mean())

    limit = np.log(20)
    return float(np.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))


def threshold(scores: Floats, kept: float) -> float:
    """Return the score that a share of known images reaches: a quantile of scores (n,).

    It is interpolated between neighbours so that, of new images of the same kind, the share that
    reaches it is `kept` on average.
    """
    return float(np.quantile(scores, 1 - kept, method="weibull"))
