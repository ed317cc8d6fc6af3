"""A dataset and seed of development: what is learned from, and how well decisions do there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import t_interval
from studies.photographs.pair import Floats, Ints, Pair, Photos
from studies.photographs.parts import DEVELOPMENT

SEEDS, SHOTS = (11, 12, 13), 16
MEASURES = ("base", "new", "H", "joint H")


@dataclass(frozen=True)
class Case:
    """One seed's shots of the base classes of a dataset, and its test pictures.

    Attributes:
        pair: the models, and what they see.
        dataset: of development.
        seed: of the shots.
    """

    pair: Pair
    dataset: str
    seed: int

    @cached_property
    def halves(self) -> tuple[Ints, Ints]:
        """The labels of base and new classes."""
        classes = np.arange(len(self.pair.names[self.dataset]))
        base = -(-len(classes) // 2)
        return classes[:base], classes[base:]

    @cached_property
    def every(self) -> Photos:
        """All training pictures, those of new classes too."""
        return self.pair.seen["train"][self.dataset]

    @cached_property
    def own(self) -> Photos:
        """The seed's shots of the base classes."""
        return self.every.of(shots(self.every.labels, self.halves[0], self.seed))

    @cached_property
    def source(self) -> Photos:
        """The shots of the source, by any seed of development."""
        found = self.pair.seen["train"][self.pair.source]
        classes = np.unique(found.labels)
        picked = [shots(found.labels, classes, seed) for seed in SEEDS]
        return found.of(np.unique(np.concatenate(picked)))

    @cached_property
    def others(self) -> Photos:
        """All training pictures of all other datasets."""
        first, *rest = (
            one for name, one in self.pair.seen["train"].items() if name != self.dataset
        )
        return first.with_others(*rest)

    @cached_property
    def test(self) -> Photos:
        """The test pictures of all classes."""
        return self.pair.seen["test"][self.dataset]

    def text(self, of: str, *, source: bool = False) -> Floats:
        """Return the class vectors (C, .) of "student", "teacher" or "second", or the source's."""
        return self.pair.texts[self.pair.source if source else self.dataset, of]

    def measured(self, logits: Floats) -> dict[str, float]:
        """Return base, new, H and joint H of logits (T, C) of the test pictures, in per cent."""
        labels, (base, new) = self.test.labels, self.halves
        every = np.concatenate(self.halves)

        def right(half: Ints, among: Ints) -> float:
            rows = np.isin(labels, half)
            return 100 * float(np.mean(among[logits[rows][:, among].argmax(1)] == labels[rows]))

        apart = [right(half, half) for half in (base, new)]
        joint = [right(half, every) for half in (base, new)]
        found = (*apart, harmonic_mean(*apart), harmonic_mean(*joint))
        return dict(zip(MEASURES, found, strict=True))


def shots(labels: Ints, classes: Ints, seed: int) -> Ints:
    """Return the rows of a seed's shots of some classes, ascending."""
    drawn = np.random.default_rng(seed)
    picked = [drawn.permutation(np.flatnonzero(labels == one))[:SHOTS] for one in classes]
    return np.sort(np.concatenate(picked))


def cases(pair: Pair) -> dict[str, list[Case]]:
    """Return all cases by dataset."""
    return {name: [Case(pair, name, seed) for seed in SEEDS] for name in DEVELOPMENT}


def difference(found: Mapping[str, float], other: Mapping[str, float]) -> str:
    """Return the mean difference of a measure by dataset, with its interval over datasets."""
    return str(t_interval([found[name] - other[name] for name in found]))
