"""Gaussian discriminant analysis with one covariance for all classes, in closed form.

Training-free classification of image features (Wang et al. 2024, "A Hard-to-Beat Baseline for
Training-free CLIP-based Adaptation"), with probabilities of classes in place of labels: whoever
tells the classes, a teacher or a person, the arithmetic is the same.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.system.blas import one_thread

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


Part = tuple[Floats, Floats, Floats]
"""Samples: features (n, D), the probabilities (n, C) of their classes, their weights (n,)."""


def gaussians(parts: Iterable[Part]) -> tuple[Doubles, Doubles]:
    """Return the classes' means (C, D) and the covariance (D, D) about them that all share.

    The covariance S is shrunk towards its mean variance by the share D / (D + N - 1) of N samples:
    the ridge-type estimator of Kubokawa and Srivastava (2008), brought back to the scale of S.

    Args:
        parts: the samples, N > 0 in all, in parts that bound the memory; every class has a part
            of one.
    """
    count, mass, sums, squares = 0, np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1))
    for features, probabilities, weights in parts:
        x = np.asarray(features, np.float64)
        p = np.asarray(probabilities, np.float64) * np.asarray(weights, np.float64)[:, None]
        count += len(x)
        with one_thread():
            mass, sums = mass + p.sum(axis=0), sums + p.T @ x
            squares = squares + (x * p.sum(axis=1)[:, None]).T @ x
    total, width = mass.sum(), sums.shape[1]
    mass = np.maximum(mass, 1e-12 * total)[:, None]
    means = sums / mass
    within = (squares - (mass * means).T @ means) / total
    share = width / (width + count - 1)
    variance = max(float(np.trace(within)) / width, 1e-12)
    return means, (1 - share) * within + share * variance * np.eye(width)


def discriminant(parts: Iterable[Part]) -> Doubles:
    """Return (C, D + 1): the weights of each class's discriminant, then its offset.

    With mu_c the class's mean and S the shared covariance, as `gaussians` gives them, the row is
    S^-1 mu_c and -mu_c S^-1 mu_c / 2: the log-density of class c but for what is the same for all.
    Classes count as equally likely. Samples as of `gaussians`.
    """
    means, covariance = gaussians(parts)
    with one_thread():
        weighing = np.linalg.solve(covariance, means.T).T
    offsets = -0.5 * (means * weighing).sum(axis=1, keepdims=True)
    return np.hstack([weighing, offsets])


def values(discriminant: Floats, features: Floats) -> Doubles:
    """Return the discriminants' values (n, C) of features (n, D)."""
    found: Doubles = np.asarray(features, np.float64) @ discriminant[:, :-1].T
    return found + discriminant[:, -1]
