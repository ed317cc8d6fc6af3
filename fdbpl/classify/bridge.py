"""How the student's image features go with the teacher's: one linear map, in closed form.

Distilled prompts pass on what the teacher says of the classes learned. The cached regions show
more: where the student's features vary, the teacher's vary along, whatever the classes are. Ridge
regression of the one on the other, with the names as seen by both text towers as further pairs,
carries the student's features into the teacher's space, where the teacher's own class vectors
judge them, those of classes that no region showed included. No label is read, and what decides
stays linear in the student's features.

Whether that helps on classes never seen can be tried: `held_out` fits the map on some of the
classes and asks about the regions of the others.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.discriminant import Doubles, values
from fdbpl.system.blas import one_thread

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer[Any]]

Pairs = tuple[Floats, Floats, Floats]
"""Regions: the student's features (n, D), the teacher's (n, E), weights (n,)."""

# Chosen on development sets, with the share in `fdbpl.methods.options`.
RIDGE = 10.0  # in mean variances of the student's features
NAMES = 0.3  # weight of the names' covariances beside the regions', each of trace one
SPLITS = 3  # of the classes into two halves, each of which is once held out


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

    def bridge(self) -> Doubles:
        """Return (D, 1 + D + E): the mean of x, its covariance, and that of x with y.

        Both covariances are divided by the total variance of x.
        """
        means, about = self._scaled()
        return np.hstack([means[: len(about), None], about])

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


def across(bridge: Floats, student: Floats, teacher: Floats, ridge: float = RIDGE) -> Doubles:
    """Return (C, D + 1): of each class the weights in the student's features, then the offset.

    With Sxx and Sxy the bridge's covariances, Nxx and Nxy those of the names' unit features under
    both text towers, divided by the trace of Nxx, the map is

        M = (Sxx + NAMES Nxx + ridge I / D)^-1 (Sxy + NAMES Nxy)

    and a class's weights are M (t_c - the mean of t), its offset minus their product with the mean
    of x. All are scaled so that their values vary over regions as much as those of the student's
    own u_c do.

    Args:
        bridge: (D, 1 + D + E) as `Moments.bridge` gives.
        student: u (C, D) unit class features under a hand-written prompt.
        teacher: t (C, E) the teacher's.
        ridge: in mean variances of the student's features.
    """
    width = len(bridge)
    mean, within, between = np.split(np.asarray(bridge, np.float64), [1, 1 + width], axis=1)
    u, t = (np.asarray(one, np.float64) for one in (student, teacher))
    u, t = u - u.mean(axis=0), t - t.mean(axis=0)
    with one_thread():
        weight = NAMES / max(float((u * u).sum()), 1e-12)
        flat = ridge / width * np.eye(width)
        mapped = np.linalg.solve(within + weight * u.T @ u + flat, between + weight * u.T @ t)
        weights = t @ mapped.T
        own, other = (float(((one @ within) * one).sum()) for one in (u, weights))
        weights *= np.sqrt(own / max(other, 1e-12))
        return np.hstack([weights, -weights @ mean])


class HeldOut:
    """The moments of regions by classes, so that a bridge can be tried on classes it never saw.

    SPLITS times the classes are cut into halves. Classes that always fall on the same side share
    their sums, so every region is added once.
    """

    def __init__(self, classes: int, seed: int) -> None:
        """Draw the halves of so many classes."""
        random = np.random.default_rng(seed)
        places = np.stack([random.permutation(classes) for _ in range(SPLITS)])
        self._sides = places % 2 == 0  # (SPLITS, C)
        self._cell_of = (self._sides * (1 << np.arange(SPLITS))[:, None]).sum(axis=0)
        self._cells: dict[int, Moments] = {}

    def add(self, pairs: Pairs, told: Ints) -> None:
        """Take up regions whose classes (n,) somebody told."""
        student, teacher, weights = pairs
        cells = self._cell_of[told]
        for cell in np.unique(cells):
            here = cells == cell
            found = Moments.of(student[here], teacher[here], weights[here])
            known = self._cells.get(int(cell))
            self._cells[int(cell)] = found if known is None else known + found

    def whole(self) -> Moments:
        """Return the moments of all regions."""
        return _sum(self._cells[cell] for cell in sorted(self._cells))

    def trials(self) -> Iterator[tuple[Bools, Moments]]:
        """Yield the classes held out (C,) and the moments of the others, where both are there."""
        for split, sides in enumerate(self._sides):
            for side in (False, True):
                rest = [n for n in sorted(self._cells) if bool(n >> split & 1) != side]
                if rest and len(rest) < len(self._cells):
                    yield sides == side, _sum(self._cells[cell] for cell in rest)


def held_out(
    known: HeldOut,
    regions: Iterable[tuple[Pairs, Ints]],
    student: Floats,
    teacher: Floats,
    share: float,
) -> tuple[float, float]:
    """Return how often the regions of held-out classes are told right without and with a bridge.

    Right is the class that was told of them; only classes held out together compete. Both are
    shares of the regions' weights, 0 where no class could be held out.

    Args:
        known: of all the regions.
        regions: the same again, with their classes (n,), in parts.
        student: u (C, D) unit class features under a hand-written prompt.
        teacher: t (C, E) the teacher's.
        share: of the bridge beside u.
    """
    trials = [
        (np.flatnonzero(held), across(rest.bridge(), student, teacher)[held])
        for held, rest in known.trials()
    ]
    right, total = np.zeros(2), 0.0
    for (x, _, weights), told in regions:
        for held, rows in trials:
            here = np.isin(told, held)
            wanted, counted = np.searchsorted(held, told[here]), weights[here].astype(np.float64)
            plain = np.asarray(x[here], np.float64) @ np.asarray(student[held], np.float64).T
            bridged = plain + share * values(rows, x[here])
            right += [counted @ (found.argmax(axis=1) == wanted) for found in (plain, bridged)]
            total += float(counted.sum())
    without, with_bridge = right / max(total, 1e-12)
    return float(without), float(with_bridge)


def _sum(parts: Iterable[Moments]) -> Moments:
    first, *others = parts
    for one in others:
        first = first + one
    return first
