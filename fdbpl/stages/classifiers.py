"""The classifier of every method and seed: what decides, and whose features it judges."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.artifact import decision_of
from fdbpl.cache.cache import Cache
from fdbpl.errors import UserError
from fdbpl.evaluation.rejection import Pair
from fdbpl.methods.decision import Decision
from fdbpl.regions.plan import Plan
from fdbpl.stages.caches import ZERO_SHOT, Role
from fdbpl.stages.evaluate import learned_classifier
from fdbpl.workspace import Workspace

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Classifier:
    """What tells the classes apart.

    Attributes:
        sees: the model whose features are judged.
        decision: what classifies; its logits are at the student's scale, whoever sees.
        pair: unit class vectors (C, D) of a method with two contexts.
    """

    sees: Role
    decision: Decision
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
            return Classifier("teacher", Decision(self._teacher.class_vectors(), self._scale))
        if method in ZERO_SHOT:
            vectors = self._student.text(ZERO_SHOT[method])
            decision = Decision(vectors, self._scale)
            if method != "zero_shot_generic":
                return Classifier("student", decision)
            negative = _untrained_negative(self._plan, self._student)
            return Classifier("student", decision, Pair(vectors, negative, self._written))
        path = self._work.learned(self._plan.name, method, seed, "classifier")
        learned = learned_classifier(path, self._plan)
        arrays = learned.arrays
        pair = None
        if "negative" in arrays:
            pair = Pair(arrays["positive"], arrays["negative"], self._written)
        return Classifier("student", decision_of(learned), pair)

    @property
    def _scale(self) -> float:
        scale: float = self._student.manifest.identity.model["logit_scale"]
        return scale

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
