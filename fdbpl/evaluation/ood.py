"""Out-of-distribution (OOD) detection: scores, and how well they and confidences do.

A higher score always means "in-distribution" (ID). Shares are given in per cent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision
from fdbpl.classify.discriminant import gaussians
from fdbpl.evaluation.logits import Doubles, Floats, log_softmax, logsumexp

TPR = 0.95  # share of ID samples that the threshold of FPR95 accepts
BINS = 15  # of ECE


def auroc(in_dist: Floats, out_dist: Floats) -> float:
    """Return how often an ID sample scores above an OOD sample, in per cent; ties count half.

    Args:
        in_dist: (n,) scores of ID samples, n >= 1.
        out_dist: (m,) scores of OOD samples, m >= 1.
    """
    ordered = np.sort(out_dist)
    below = np.searchsorted(ordered, in_dist, side="left")
    not_above = np.searchsorted(ordered, in_dist, side="right")
    return 100 * float((below + not_above).sum()) / (2 * len(in_dist) * len(out_dist))


def fpr95(in_dist: Floats, out_dist: Floats) -> float:
    """Return the share of OOD samples accepted, in per cent, where 95 % of ID samples are.

    What scores at least the threshold is accepted; the threshold is the highest that accepts
    enough ID samples. Arguments as of `auroc`.
    """
    needed = math.ceil(TPR * len(in_dist) - 1e-9)  # 0.95 * 20 is no whole number in binary
    threshold = np.sort(in_dist)[len(in_dist) - needed]
    return 100 * float(np.mean(out_dist >= threshold))


def ece(confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS) -> float:
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


@dataclass(frozen=True)
class ClassGaussians:
    """Gaussians of the classes in feature space, with one covariance for all.

    Attributes:
        means: (C, D).
        precision: (D, D), the inverse of the covariance.
    """

    means: Floats
    precision: Floats

    @classmethod
    def fit(cls, features: Floats, probabilities: Floats, weights: Floats) -> "ClassGaussians":
        """Fit to regions: features (n, D), class probabilities (n, C), weights (n,).

        The covariance is shrunk as in `fdbpl.classify.discriminant`.
        """
        means, covariance = gaussians([(features, probabilities, weights)])
        return cls(means, np.linalg.inv(covariance))

    def distance(self, features: Floats) -> Doubles:
        """Return the squared Mahalanobis distance (n,) of features (n, D) to the nearest mean."""
        x = np.asarray(features, np.float64)
        of_x = ((x @ self.precision) * x).sum(axis=1)
        rows = self.means @ self.precision
        of_means = (rows * self.means).sum(axis=1)
        nearest: Doubles = of_x + (of_means - 2 * x @ rows.T).min(axis=1)
        return nearest


@dataclass(frozen=True)
class Scorer:
    """OOD scores of images and regions under one classifier.

    Attributes:
        decision: the classifier.
        classes: the C labels that count as in-distribution.
        gaussians: of the regions learned from, of a method with a memory.
        negative: (C, D) unit class vectors of the hand-written "no" prompt, of the method whose
            own class vectors are those of the same prompt without "no".
    """

    decision: Decision
    classes: Sequence[int]
    gaussians: ClassGaussians | None = None
    negative: Floats | None = None

    def logits(self, features: Floats) -> Doubles:
        """Return the classifier's logits z (n, C) of unit features (n, D)."""
        return np.asarray(self.decision.logits(features, self.classes), np.float64)

    def __call__(self, features: Floats) -> dict[str, Doubles]:
        """Return each score (n,) of unit features (n, D) that the method has, by name.

        - energy: log sum exp of z (Liu et al. 2020);
        - energy_mahalanobis: energy - d^2 / 2, d the Mahalanobis distance to the nearest class
          mean (Lee et al. 2018): both are log-densities but for a constant;
        - no_prompt: s f (u_y - v_y) of the class y chosen, u_y its prompt and v_y the same prompt
          with "no". Its sigmoid is CLIPN's probability of "yes" (Wang et al. 2023).
        """
        z = self.logits(features)
        scores = {"energy": logsumexp(z)}
        if self.gaussians is not None:
            half = self.gaussians.distance(features) / 2
            scores["energy_mahalanobis"] = scores["energy"] - half
        if self.negative is not None:
            positive = np.asarray(self.decision.vectors[list(self.classes)], np.float64)
            rows = (positive - self.negative)[z.argmax(axis=1)]
            scores["no_prompt"] = self.decision.scale * (features * rows).sum(axis=1)
        return scores

    def calibration_error(self, features: Floats, labels: NDArray[np.integer]) -> float:
        """Return ECE of softmax(z) on ID images with unit features (n, D) and labels (n,)."""
        log_p = log_softmax(self.logits(features))
        correct = np.asarray(self.classes)[log_p.argmax(axis=1)] == labels
        return ece(np.exp(log_p.max(axis=1)), correct)
