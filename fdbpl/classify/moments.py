"""Moments of regions' features, from which means and ridge regressions follow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.discriminant import Doubles
from fdbpl.system.blas import one_thread

Floats = NDArray[np.floating[Any]]

Pairs = tuple[Floats, Floats, Floats]
"""Regions: the student's features (n, D), the teacher's (n, E), weights (n,)."""


class Moments:
    """Weighted sums over regions, from which means and covariances follow; they can be added."""

    def __init__(self, sums: Doubles) -> None:
        """Hold sums (1 + D, 1 + D + E) of [1, x]^T [1, x, y]."""
        self._sums = sums

    @classmethod
    def of(cls, student: Floats, teacher: Floats, weights: Floats) -> "Moments":
        """Sum over regions with features x (n, D) and y (n, E)."""
        ones = np.ones((len(student), 1))
        x = np.hstack([ones, np.asarray(student, np.float64)])
        both = np.hstack([x, np.asarray(teacher, np.float64)])
        with one_thread():
            return cls((x * np.asarray(weights, np.float64)[:, None]).T @ both)

    def __add__(self, other: "Moments") -> "Moments":
        """Return the sums over the regions of both."""
        return Moments(self._sums + other._sums)

    def scaled_to(self, other: "Moments", share: float) -> "Moments":
        """Return the sums as if these regions together weighed `share` of what the other's do."""
        return Moments(self._sums * (share * other.total / max(self.total, 1e-12)))

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(self._sums[0, 0])

    def means(self) -> tuple[Doubles, Doubles]:
        """Return the means of x (D,) and of y (E,)."""
        means = self._scaled()[0]
        return means[: len(self._sums) - 1], means[len(self._sums) - 1 :]

    def regression(self, ridge: float) -> Doubles:
        """Return the weights (D, E) of the ridge regression of y on x, both about their means.

        With Sxx and Sxy the covariances, they are (Sxx + ridge tr(Sxx) / D I)^-1 Sxy.

        Args:
            ridge: in mean variances of x.
        """
        about = self._scaled()[1]
        width = len(about)
        with one_thread():
            flat = ridge / width * np.eye(width)
            return np.asarray(np.linalg.solve(about[:, :width] + flat, about[:, width:]))

    def _scaled(self) -> tuple[Doubles, Doubles]:
        """Return the means (D + E,) of x and y, and the covariances (D, D + E) of x with both.

        These are divided by the total variance of x.
        """
        total, width = max(self._sums[0, 0], 1e-12), len(self._sums) - 1
        means = self._sums[0, 1:] / total
        about = self._sums[1:, 1:] / total - np.outer(means[:width], means)
        return means, about / max(float(np.trace(about[:, :width])), 1e-12)
