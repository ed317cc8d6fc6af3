"""How sure a mean over datasets is: t-intervals, and what gives the H of averages one, no torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

COVERAGE = 95
"""Per cent of such intervals that hold the truth, where the assumptions do."""


@dataclass(frozen=True)
class Interval:
    """The mean of `units` values, one of each dataset, and the interval about it.

    Of one unit nothing is known of how far units vary: both ends are its value, and say nothing.
    """

    mean: float
    low: float
    high: float
    units: int

    @property
    def sign(self) -> int:
        """Return 1 or -1 where the whole interval lies above or below zero, else 0."""
        return 0 if self.units < 2 else int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        """Return it as tables show it: +0.52 (+0.10 to +0.99)."""
        ends = f"{self.low:+z.2f} to {self.high:+z.2f}"
        return f"{self.mean:+z.2f} ({'one dataset: no interval' if self.units < 2 else ends})"


def t_interval(values: ArrayLike) -> Interval:
    """Return the mean of values, and its 95 % t-interval: mean +- t_{n-1} s / sqrt(n).

    s is their sample deviation. It holds the mean of all datasets that might have been taken in
    95 % of cases, if the values are drawn independently from one normal distribution. So a value
    is a dataset's difference, seeds averaged first: seeds of one dataset are not independent.
    Exactly the same whatever the order.

    Args:
        values: (n,) one number for each unit.

    Raises:
        ValueError: no values, or not a list of finite numbers.
    """
    units = np.sort(np.asarray(values, np.float64), axis=None)  # one sum for every order
    if np.ndim(values) != 1 or not units.size or not np.isfinite(units).all():
        raise ValueError(f"values of shape {np.shape(values)}, wanted finite (n,), n >= 1")
    mean = float(units.mean())
    if units.size == 1:
        return Interval(mean, mean, mean, 1)
    from scipy.special import stdtrit  # takes a while, and most commands do without

    quantile = stdtrit(units.size - 1, 0.5 + COVERAGE / 200)
    half = float(quantile * units.std(ddof=1) / np.sqrt(units.size))
    return Interval(mean, mean - half, mean + half, units.size)


def linearised_h(base: ArrayLike, new: ArrayLike) -> NDArray[Any]:
    """Return a value (n,) for each dataset, whose mean is exactly the H of the averages.

    With b, n the averages of b_d, n_d and H = 2 b n / (b + n), dataset d's value is H's tangent
    there: H + 2 n^2 / (b + n)^2 (b_d - b) + 2 b^2 / (b + n)^2 (n_d - n). Their deviation is that
    of H by the delta method, so a `t_interval` of two methods' paired differences is one of the
    difference of their H of averages: its centre exactly, its width as far as H is straight
    within the averages' own error. Where both averages are 0, so are all values.

    Args:
        base: (n,) accuracies on base classes, means over seeds.
        new: (n,) on new classes, of the same datasets.
    """
    base, new = np.asarray(base, np.float64), np.asarray(new, np.float64)
    b, n = base.mean(), new.mean()
    if b + n == 0:
        return np.zeros(len(base))
    by_base, by_new = 2 * np.square(np.array([n, b]) / (b + n))
    return 2 * b * (n / (b + n)) + by_base * (base - b) + by_new * (new - n)
