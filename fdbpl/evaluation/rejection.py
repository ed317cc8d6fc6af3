"""None of these: how sure a classifier is that it sees any of its classes, and how rightly.

A higher score always means "more one of these". Shares are given in per cent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.methods.decision import Decision

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"max_softmax": 0.2, "difference": 0.1, "written_energy": 0.7}
)
"""Of `combined`: the best that `python -m bench.rejection` finds on the development datasets."""


def auroc(inside: Floats, outside: Floats) -> float:
    """Return how often an insider scores above an outsider, in per cent; ties count half.

    Args:
        inside: (n,) scores, n >= 1.
        outside: (m,) scores, m >= 1.
    """
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, side="left")
    not_above = np.searchsorted(ordered, inside, side="right")
    return 100 * float((below + not_above).sum()) / (2 * len(inside) * len(outside))


def fpr_at_tpr(inside: Floats, outside: Floats, tpr: float = 0.95) -> float:
    """Return how many outsiders pass, in per cent, where at least `tpr` of the insiders pass.

    What scores at least the threshold passes; the threshold is the highest that lets enough
    insiders pass. Arguments as of `auroc`; 0 < tpr <= 1.
    """
    needed = math.ceil(tpr * len(inside) - 1e-9)  # 0.95 * 20 is no whole number in binary
    threshold = np.sort(inside)[len(inside) - needed]
    return 100 * float(np.mean(outside >= threshold))


def ece(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error in per cent (Guo et al. 2017, equal-width bins).

    Args:
        confidence: (n,) in [0, 1], the probability given to the class that was chosen.
        correct: (n,) whether it was the right one.
        bins: of [0, 1]; bin k holds k / bins < confidence <= (k + 1) / bins, and 0 the first.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    sure = np.bincount(place, confidence, bins)
    right = np.bincount(place, correct, bins)
    return 100 * float(np.abs(sure - right).sum()) / len(confidence)


def log_softmax(logits: Floats) -> Doubles:
    """Return the logarithm of each row's softmax (n, C), in float64."""
    values = np.asarray(logits, np.float64)
    return values - logsumexp(values)[:, None]


def logsumexp(logits: Floats) -> Doubles:
    """Return log sum exp of each row (n,), in float64."""
    values = np.asarray(logits, np.float64)
    top = values.max(axis=1)
    summed: Doubles = top + np.log(np.exp(values - top[:, None]).sum(axis=1))
    return summed


def sureness(logits: Floats) -> Doubles:
    """Return 1 - H(p) / ln C of each row's softmax (n,), in [0, 1]: 0 where p is uniform.

    Of a single class it is 1.
    """
    log_p = log_softmax(logits)
    entropy = -(np.exp(log_p) * log_p).sum(axis=1)
    result: Doubles = np.clip(1 - entropy / math.log(max(2, log_p.shape[1])), 0, 1)
    return result


@dataclass(frozen=True)
class Pair:
    """What a method with two contexts has beside its decision: class vectors, or logits of them.

    Attributes:
        positive: under the positive context.
        negative: under the negative context.
        written: under the hand-written prompt.
    """

    positive: Floats
    negative: Floats
    written: Floats


def scores(decision: Floats, pair: Pair | None = None) -> dict[str, Doubles]:
    """Return every simple score of n images or regions by name, (n,) each.

    Args:
        decision: (n, C) the logits that decide.
        pair: further logits (n, C) of a method with two contexts.

    max_softmax, max_logit and energy (log sum exp, Liu et al. 2020) of the decision. With two
    contexts also FDBPL's first-order difference z+_y - z-_y at the class y decided for; the
    negative prompts' sureness, since training may make p- uniform where there is nothing to see;
    and the energy of the hand-written prompt, whose level no training has moved.
    """
    z = np.asarray(decision, np.float64)
    found = {
        "max_softmax": np.exp(log_softmax(z).max(axis=1)),
        "max_logit": z.max(axis=1),
        "energy": logsumexp(z),
    }
    if pair is not None:
        gap = np.asarray(pair.positive, np.float64) - np.asarray(pair.negative, np.float64)
        found["difference"] = np.take_along_axis(gap, z.argmax(axis=1)[:, None], axis=1)[:, 0]
        found["negative_entropy"] = sureness(pair.negative)
        found["written_energy"] = logsumexp(pair.written)
    return found


def combined(
    found: Mapping[str, Doubles],
    reference: Mapping[str, Doubles],
    weights: Mapping[str, float] = WEIGHTS,
) -> Doubles:
    """Return the weighted sum of scores (n,), each in deviations from its mean in `reference`.

    Args:
        found: simple scores of what is judged.
        reference: the same scores of the regions that were learned from.
        weights: by score.
    """
    total = np.zeros(len(next(iter(found.values()))))
    for name, weight in weights.items():
        spread = max(float(reference[name].std()), 1e-12)
        total += weight * (found[name] - reference[name].mean()) / spread
    return total


class Scorer:
    """Scores of images and regions under one classifier."""

    def __init__(
        self, decision: Decision, among: Sequence[int], pair: Pair | None, learned: Floats
    ):
        """Take what decides among C labels, and the class vectors (C, D) of two contexts.

        learned: (R, D) features of the regions learned from, by which `combined` tells what is
        much and what little.
        """
        self._decision, self._among, self._pair = decision, among, pair
        self._reference = self.simple(learned)

    def logits(self, features: Floats) -> Doubles:
        """Return the logits (n, C) that decide of unit features (n, D)."""
        return np.asarray(self._decision.logits(features, self._among), np.float64)

    def simple(self, features: Floats) -> dict[str, Doubles]:
        """Return the simple scores (n,) of unit features (n, D)."""
        pair = self._pair
        if pair is None:
            return scores(self.logits(features))
        sides = (pair.positive, pair.negative, pair.written)
        return scores(self.logits(features), Pair(*(self._logits(features, v) for v in sides)))

    def __call__(self, features: Floats) -> dict[str, Doubles]:
        """Return every score (n,) of unit features (n, D), with `combined` where it can be."""
        found = self.simple(features)
        if self._pair is None:
            return found
        return {**found, "combined": combined(found, self._reference)}

    @property
    def reference(self) -> Mapping[str, Doubles]:
        """The simple scores of the regions learned from."""
        return self._reference

    def _logits(self, features: Floats, vectors: Floats) -> Doubles:
        similarity: Doubles = np.asarray(features, np.float64) @ np.asarray(vectors, np.float64).T
        return self._decision.scale * similarity


def measures(inside: Floats, outside: Floats) -> dict[str, float]:
    """Return AUROC and FPR at 95 % TPR, in per cent."""
    return {"auroc": auroc(inside, outside), "fpr95": fpr_at_tpr(inside, outside)}
