"""Who is told what: the recipe of a training, and the batches that it draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.photographs.captions import Subject

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """All that decides a text tower beside the pictures and the words.

    Attributes:
        seed: of the start, the batches and the captions.
        steps: of training.
        batch: pictures a step.
        lr: the highest learning rate.
        weight_decay: of matrices.
        dropout: share of a picture's numbers that are hidden.
        kinds: share of captions that name the kind alone.
        wrong: share of pictures whose captions name another class of the dataset.
        with_kind: share of captions by name that name the kind, too; these are never wrong, so that
            there are words to be found under which names are truer than under known templates.
        told: how many pictures of each class are ever told by name, None for all; all others
            are told by kind.
        within: weight of the cross-entropy among the classes of a picture's own dataset.
        imagenet: how many of ImageNet's names stand among a step's captions.
        imagenet_weight: of the cross-entropy to ImageNet's classifier over these.
    """

    seed: int
    steps: int = 1500
    batch: int = 1024
    lr: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    kinds: float = 0.15
    wrong: float = 0.0
    with_kind: float = 0.0
    told: int | None = None
    within: float = 1.0
    imagenet: int = 96
    imagenet_weight: float = 0.5


@dataclass(frozen=True)
class Batch:
    """One step's pictures and captions.

    Attributes:
        rows: (n) of the pictures.
        subjects: (t) rows of the subjects of the captions, each once.
        right: (n, t) whether a caption is true of a picture.
        unknown: (n, t) whether it counts neither as true nor as false.
        own: (n, t) whether a caption names a class of the picture's dataset, which was named.
    """

    rows: Rows
    subjects: Rows
    right: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    own: NDArray[np.bool_]


class Sampler:
    """Draws batches: all datasets and classes in turn, small ones as often as their root says.

    Args:
        labels: (n) the pictures' classes.
        subjects: classes first, then kinds, then the classes again with their kinds, if any are
            told so.
        recipe: who is told what.
    """

    def __init__(self, labels: Rows, subjects: Sequence[Subject], recipe: Recipe):
        self._recipe, self._labels = recipe, labels
        datasets = list(dict.fromkeys(one.dataset for one in subjects))
        self._dataset = np.array([datasets.index(one.dataset) for one in subjects])
        self._is_kind = np.array([one.is_kind for one in subjects])
        rows = {(one.dataset, one.name): row for row, one in reversed(list(enumerate(subjects)))}
        self._class = np.array([rows[one.dataset, one.name] for one in subjects])
        twins = {self._class[row]: row for row, one in enumerate(subjects) if one.with_kind}
        self._twin = np.array([twins.get(row, row) for row in range(len(subjects))])
        self._is_class = ~self._is_kind & (self._class == np.arange(len(subjects)))
        classes, sets = np.bincount(labels), np.bincount(self._dataset[labels])
        chances = 1 / np.sqrt(classes[labels]) / np.sqrt(sets[self._dataset[labels]])
        self._chances = chances / chances.sum()
        self._named = np.ones(len(labels), bool)
        if recipe.told is not None:
            order = np.random.default_rng(recipe.seed).permutation(len(labels))
            rank = np.empty(len(labels), int)
            for label in range(len(classes)):
                own = order[labels[order] == label]
                rank[own] = np.arange(len(own))
            self._named = rank < recipe.told
        # said once and for all, as a caption of the web is
        rng = np.random.default_rng((recipe.seed, 1))
        self._said = labels.copy()
        for row in np.flatnonzero(rng.random(len(labels)) < recipe.wrong):
            classes = np.flatnonzero(self._is_class & self._in(self._dataset[labels[row]]))
            others = classes[classes != labels[row]]
            self._said[row] = rng.choice(others if len(others) else classes)

    def _in(self, dataset: int) -> NDArray[np.bool_]:
        of_dataset: NDArray[np.bool_] = self._dataset == dataset
        return of_dataset

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return a batch."""
        recipe, count = self._recipe, self._recipe.batch
        rows = rng.choice(len(self._labels), count, p=self._chances)
        dataset = self._dataset[self._labels[rows]]
        said = self._said[rows]
        by_kind = ~self._named[rows] | (rng.random(count) < recipe.kinds)
        for at in np.flatnonzero(by_kind):
            said[at] = rng.choice(np.flatnonzero(self._is_kind & self._in(dataset[at])))
        both = ~by_kind & (rng.random(count) < recipe.with_kind)
        said[both] = self._twin[self._labels[rows[both]]]
        subjects = np.unique(said)
        same = self._dataset[subjects] == dataset[:, None]
        kinds = self._is_kind[subjects]
        right = (said[:, None] == subjects) | (same & kinds)
        otherwise = self._class[said][:, None] == self._class[subjects]  # told in other words
        unknown = ~right & ((by_kind[:, None] & same) | otherwise)
        own = same & ~kinds & ~unknown & ~by_kind[:, None]
        return Batch(rows, subjects, right, unknown, own)
