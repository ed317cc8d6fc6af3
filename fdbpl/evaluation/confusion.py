"""Which classes are taken for which: counts of pictures, without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Confusion:
    """What the pictures of each class were taken for.

    Attributes:
        names: of C classes, by label; two may be the same.
        counts: (C, C), in the row of the class that is shown and the column of the class taken.
    """

    names: tuple[str, ...]
    counts: Ints

    @classmethod
    def of_labels(cls, names: Sequence[str], shown: Ints, taken: Ints) -> "Confusion":
        """Count pictures by the labels (n,) that they show and that they were taken for."""
        counts = np.zeros((len(names), len(names)), np.int64)
        np.add.at(counts, (shown, taken), 1)
        return cls(tuple(names), counts)

    @classmethod
    def of_names(
        cls, names: Sequence[str], classes: Mapping[str, Mapping[str, int]]
    ) -> "Confusion":
        """Take counts by the names of the class that is shown, and of the class taken.

        Raises:
            KeyError: a class that is not among the names.
        """
        label_of = {name: label for label, name in enumerate(names)}
        counts = np.zeros((len(names), len(names)), np.int64)
        for shown, taken in classes.items():
            for name, count in taken.items():
                counts[label_of[shown], label_of[name]] += count
        return cls(tuple(names), counts)

    @property
    def pictures(self) -> Ints:
        """How many pictures show each class (C,)."""
        found: Ints = self.counts.sum(axis=1)
        return found

    @property
    def accuracy(self) -> float:
        """Per cent of all pictures whose class was found; there is one picture at least."""
        return 100 * float(np.trace(self.counts)) / int(self.counts.sum())

    def found(self, label: int) -> float:
        """Return per cent of a class's pictures that were found; there is one at least."""
        return 100 * int(self.counts[label, label]) / int(self.counts[label].sum())

    def weakest(self, most: int) -> list[int]:
        """Return the labels of classes with pictures, least often found first, at most so many."""
        tested = np.flatnonzero(self.pictures).tolist()
        return sorted(tested, key=self.found)[:most]

    def mistaken(self, label: int) -> list[tuple[int, int]]:
        """Return the other labels that a class was taken for and how often, most often first."""
        row = self.counts[label].tolist()
        wrong = [(other, count) for other, count in enumerate(row) if count and other != label]
        return sorted(wrong, key=lambda pair: -pair[1])
