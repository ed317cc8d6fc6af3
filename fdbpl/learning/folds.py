"""Held out by turns: every picture is judged by a training that did not see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.data.dataset import Dataset, Item
from fdbpl.data.splits import draw_order
from fdbpl.regions.plan import Plan

MOST = 2000
"""Pictures that are judged by turns: enough for shares to be sure to a point."""

OWN_TEST, UNJUDGED = -1, -2
"""In place of a fold: a test picture of the user's own, which no training sees; and one that every
training sees, since without it nothing would be learned of its class."""


@dataclass(frozen=True)
class Folds:
    """Which pictures each training leaves out.

    Attributes:
        dataset: the pictures to learn from as its training split; those to judge as its test
            split, the same pictures among them.
        of_picture: the fold of each picture to learn from, by path.
    """

    dataset: Dataset
    of_picture: Mapping[str, int]

    def plan(self, plan: Plan, keys: Sequence[int], made_with: Mapping[str, Any]) -> Plan:
        """Return the dataset's plan with a seed for every training: of all, then without a fold.

        The shots of a class that are all in one fold stay in every training.

        Args:
            plan: made for seed `keys[0]` alone, of all that is to be learned from.
            keys: seeds, the first of all shots, the others of one without each fold.
            made_with: the parameters that decided it.
        """
        whole, *others = keys
        rows, ranks = np.asarray(plan.shots[whole]), np.asarray(plan.ranks[whole])
        folds = np.array([self.of_picture[plan.paths[row]] for row in rows])
        kept = {whole: np.ones(len(rows), bool)}
        labels = plan.images["label"][rows]
        for fold, key in enumerate(others):
            left = folds != fold
            kept[key] = left | ~np.isin(labels, labels[left])
        return replace(
            plan,
            shots={key: tuple(rows[one].tolist()) for key, one in kept.items()},
            ranks={key: tuple(ranks[one].tolist()) for key, one in kept.items()},
            made_with=made_with,
        )

    def of_tests(self, plan: Plan) -> NDArray[np.intp]:
        """Return the fold, `OWN_TEST` or `UNJUDGED` of each test image, of what `plan` returned."""
        _, *others = plan.shots.values()
        seen = [{plan.paths[row] for row in rows} for rows in others]

        def fold_of(path: str) -> int:
            fold = self.of_picture.get(path, OWN_TEST)
            return UNJUDGED if fold != OWN_TEST and path in seen[fold] else fold

        return np.array([fold_of(plan.paths[row]) for row in plan.test], np.intp)


def folds_of(dataset: Dataset, seed: int, count: int, *, own_test: bool) -> Folds:
    """Deal the pictures of each class out into folds, in the order in which shots are drawn.

    A picture's place in that order is of its path and of those of its class alone. So a new picture
    leaves the folds of other classes as they were, and of its own those of the pictures before it;
    those after it move on by one. The only picture of its class is not judged.

    Args:
        dataset: as a reader returns it.
        seed: of the draw.
        count: of folds.
        own_test: whether the test split is the user's own; else it is learned from, too.
    """
    learned = dataset.train + dataset.val + (() if own_test else dataset.test)
    folds: dict[str, int] = {}
    judged: list[tuple[int, Item]] = []
    for items in draw_order(learned, seed).values():
        folds |= {item.path: rank % count for rank, item in enumerate(items)}
        judged += [] if len(items) == 1 else list(enumerate(items))
    chosen = sorted(judged, key=lambda pair: pair[0])[:MOST]
    tests = [item for _, item in chosen] + list(dataset.test if own_test else ())
    split = replace(dataset, train=learned, val=(), test=tuple(tests))
    return Folds(split, folds)
