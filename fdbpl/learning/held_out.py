"""What methods say of pictures that they were not learned from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision, Role
from fdbpl.clip.model import ClipModel
from fdbpl.learning.folds import OWN_TEST
from fdbpl.methods.method import Classes, Method
from fdbpl.settings.params import Params
from fdbpl.stages.judged import JudgedFeatures
from fdbpl.stages.sides import NOTHING_SEEN, Seen, Side
from fdbpl.stages.tasks import Task
from fdbpl.stages.train_student import content_of, data_of
from fdbpl.training.learning import Learned, learn_method
from fdbpl.training.store import TrainingStore

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Trainer:
    """Learns methods on all of a task's pictures, or on all but one fold of them.

    Attributes:
        params: the schedule and the device; its seeds are those of the task's picks, the first of
            all pictures.
        task: what is learned.
        clip: the student.
        sides: regions' features by role.
        classes: of the task, as the frozen models know their names.
        trainings: folder of all that was ever learned.
        seen: of regions, for methods that run the student's image tower.
    """

    params: Params
    task: Task
    clip: ClipModel
    sides: Mapping[Role, Side]
    classes: Classes
    trainings: Path
    seen: Seen = NOTHING_SEEN

    def learned(self, method: Method, key: int) -> Learned:
        """Return what a method learns from the pictures of a seed of the task."""
        own = self.params.model_copy(update={"seeds": [key]})
        role: Role = method.sees if method.sees in self.sides else "student"
        student, teacher = self.sides[role], self.sides["teacher"]
        data = data_of(own, self.task, self.clip, student, teacher, role, seen=self.seen)
        store = TrainingStore(self.trainings, content_of(own, self.task, student, teacher))
        return learn_method(method, data, own.train, store)[key]

    def decision(self, method: Method, learned: Learned | None) -> Decision:
        """Return what decides between all classes by what was learned, if anything was."""
        known = replace(self.classes, learned=() if learned is None else learned.names)
        return method.decision({} if learned is None else learned.arrays, known)


def held_out_logits(
    trainer: Trainer,
    method: Method,
    features: JudgedFeatures,
    folds: Ints,
    report: Callable[[], None],
) -> Floats:
    """Return the logits (n, C) of pictures by trainings that did not see them.

    Args:
        trainer: learns.
        method: one of those tried.
        features: of the n pictures.
        folds: (n,) in which fold each picture is, or `OWN_TEST`.
        report: called after each training.
    """
    whole, *others = trainer.params.seeds
    among = range(len(trainer.classes.names))
    found = np.empty((len(folds), len(among)), np.float32)
    keys: Sequence[tuple[int, int]] = [(OWN_TEST, whole), *enumerate(others)]
    decision = None if method.learns else trainer.decision(method, None)
    for fold, key in keys:
        rows = np.flatnonzero(folds == fold)
        if len(rows):
            of_fold = decision or trainer.decision(method, trainer.learned(method, key))
            found[rows] = of_fold.logits(features.judged_by(of_fold)[rows], among)
        report()
    return found
