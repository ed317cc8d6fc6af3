"""The classifier of every method and seed: class vectors, and whose features they are for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import Cache
from fdbpl.errors import UserError
from fdbpl.plan import Plan
from fdbpl.rejection import Pair
from fdbpl.stages.caches import ZERO_SHOT, Role
from fdbpl.stages.evaluate import learned_classifier
from fdbpl.workspace import Workspace

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Classifier:
    """Unit vectors of all classes.

    Attributes:
        sees: the model whose features the vectors are compared with.
        decision: (C, D), by label, those that classify.
        pair: those of a method with two contexts, (C, D) each.
    """

    sees: Role
    decision: Floats
    pair: Pair | None = None


class Classifiers:
    """All classifiers of one dataset."""

    def __init__(self, plan: Plan, teacher: Cache, student: Cache, work: Workspace):
        self._plan, self._teacher, self._student, self._work = plan, teacher, student, work

    def open(self, method: str, seed: int) -> Classifier:
        """Return the classifier of a method with class vectors, learned under a seed or by hand.

        Raises:
            UserError: none was learned, or under another plan, or its file is damaged.
        """
        if method == "teacher":
            return Classifier("teacher", self._teacher.class_vectors())
        if method in ZERO_SHOT:
            vectors = self._student.text(ZERO_SHOT[method])
            if method != "zero_shot_generic":
                return Classifier("student", vectors)
            negative = _untrained_negative(self._plan, self._student)
            return Classifier("student", vectors, Pair(vectors, negative, self._written))
        path = self._work.learned(self._plan.name, method, seed, "classifier")
        arrays = learned_classifier(path, self._plan).arrays
        pair = None
        if "negative" in arrays:
            pair = Pair(arrays["positive"], arrays["negative"], self._written)
        return Classifier("student", arrays["decision"], pair)

    @property
    def _written(self) -> Floats:
        return self._student.text("template")


def _untrained_negative(plan: Plan, student: Cache) -> Floats:
    """Return the vectors of "a photo of no ...", which beside the generic ones start FDBPL."""
    try:
        return student.text("negative")
    except KeyError:
        raise UserError(
            f"{plan.name}: the student's cache has no text 'negative', as an older fdbpl left it. "
            f"Run fdbpl cache-teacher {plan.name} again; nothing is encoded twice."
        ) from None
