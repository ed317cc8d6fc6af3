"""How sure a mean is: intervals by resampling, from paired differences, without torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

COVERAGE = 95
"""Per cent of the resampled means that an interval holds."""

CHUNK = 2**22
"""Numbers drawn at a time, so that memory stays small however many datasets there are."""


@dataclass(frozen=True)
class Interval:
    """The mean of `pairs` differences, and the percentile interval about it.

    Of one pair there is nothing to draw anew: both ends are its difference, and say nothing.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def sign(self) -> int:
        """Return 1 or -1 where the whole interval lies above or below zero, else 0."""
        return 0 if self.pairs < 2 else int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        """Return it as tables show it: +0.52 (+0.10 to +0.99)."""
        ends = f"{self.low:+.2f} to {self.high:+.2f}"
        return f"{self.mean:+.2f} ({'one pair: no interval' if self.pairs < 2 else ends})"


def paired_bootstrap(differences: ArrayLike, *, seed: int, resamples: int = 10_000) -> Interval:
    """Return the mean of paired differences, and its 95 % interval over datasets and seeds.

    The hierarchical percentile bootstrap: datasets are drawn with replacement, and within each
    one drawn its seeds, again with replacement. The interval is exactly the same whatever the
    order of the datasets, and of the seeds within them. Of few datasets it is somewhat too
    narrow, as every bootstrap of few units is.

    Args:
        differences: (D, S) one number for each dataset and seed.
        seed: of the resampling.
        resamples: how many means to draw.

    Raises:
        ValueError: no differences, or not a table of finite numbers.
    """
    table = np.asarray(differences, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"differences of shape {table.shape}, wanted finite (D, S)")
    table = np.sort(table, axis=1)
    table = table[np.lexsort(table.T[::-1])]  # one order for every order of the same numbers
    means = _resampled_means(table, seed, resamples)
    tail = (100 - COVERAGE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(table.mean()), float(low), float(high), table.size)


def _resampled_means(table: NDArray[Any], seed: int, resamples: int) -> NDArray[np.float64]:
    """Return `resamples` means of datasets drawn from `table` and seeds drawn within them."""
    count, seeds = table.shape
    rng = np.random.default_rng(seed)
    means = []
    at_once = max(1, CHUNK // table.size)
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        datasets = rng.integers(count, size=(draws, count, 1))
        within = rng.integers(seeds, size=(draws, count, seeds))
        means.append(table[datasets, within].mean(axis=(1, 2)))
    return np.concatenate(means)
