"""The classifier of every method and seed: what decides, and whose features it judges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.artifact import decision_of
from fdbpl.cache.cache import Cache
from fdbpl.evaluation.rejection import Pair
from fdbpl.methods.decision import Decision
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import ZERO_SHOT, Role
from fdbpl.stages.learned import open_learned
from fdbpl.system.workspace import Workspace

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

    def __init__(self, params: Params, plan: Plan, caches: Mapping[Role, Cache], work: Workspace):
        self._params, self._plan, self._work = params, plan, work
        self._teacher, self._student = caches["teacher"], caches["student"]

    def open(self, method: str, seed: int) -> Classifier:
        """Return the classifier of a method with class vectors, learned under a seed or by hand.

        Raises:
            UserError: see `open_learned`.
        """
        if method == "teacher":
            return Classifier("teacher", Decision(self._teacher.text("template"), self._scale))
        if method in ZERO_SHOT:
            vectors = self._student.text(ZERO_SHOT[method])
            decision = Decision(vectors, self._scale)
            if method != "zero_shot_generic":
                return Classifier("student", decision)
            negative = self._student.text("negative")
            return Classifier("student", decision, Pair(vectors, negative, self._written))
        learned = open_learned("classifier", self._params, self._plan, self._work, method, seed)
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
