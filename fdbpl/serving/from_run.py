"""The model of what a run learned: its files as they lie there, and the student's image tower."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from fdbpl.cache.cache import Cache
from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.classify.decision import Decision, Role
from fdbpl.clip.model import ClipModel
from fdbpl.clip.weights import about_model
from fdbpl.evaluation.calibration import calibrate
from fdbpl.methods.method import Method
from fdbpl.serving.figures import TEST_IMAGES, figures_of
from fdbpl.serving.make import Made
from fdbpl.serving.model_folder import NO_MODEL
from fdbpl.settings.params import Params
from fdbpl.stages.caches import model_of, open_role
from fdbpl.stages.evaluate import measures, truth
from fdbpl.stages.learned import open_learned
from fdbpl.stages.tasks import Task
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace


def made_of_run(
    params: Params,
    work: Workspace,
    task: Task,
    method: Method,
    seed: int,
    name: str,
    student: Callable[[], ClipModel],
) -> Made:
    """Return the model of what a method learned of a task under a seed.

    It tells all class names of the dataset apart, whichever of them were learned. The test images
    measure and calibrate it, as their features lie in the caches.

    Args:
        params: of the run.
        work: the run's workspace.
        task: what was learned.
        method: by which.
        seed: of the training.
        name: of the model.
        student: loads the student of `params`; called once all else is there.

    Raises:
        UserError: the method judges the teacher's features; what was learned or cached is missing,
            damaged or of other parameters; there are no test images; or the student's weights
            cannot be had, or are not those that were learned with.
    """
    plan = task.plan
    if method.sees == "teacher":
        raise UserError(
            f"method {method.name!r} {NO_MODEL}. Name another method, or learn with this teacher "
            "as the student."
        )
    if not len(plan.test):
        raise UserError(
            f"{work.plan(plan.name)}: no test images, and a model is calibrated by some. Add "
            f"pictures to test on, and run {work.command('prepare-crops', plan.name)} again."
        )
    opened = partial(open_learned, params=params, task=task, place=work, method=method.name)
    classifier = opened("classifier", seed=seed)
    prompts = opened("prompts", seed=seed) if method.learns else None
    decision = decision_of(classifier)
    measured, logits, labels = _measured(params, work, task, decision)
    calibration = calibrate(logits, labels)
    clip = student()
    _require_same(clip, classifier, work.command("train-student", plan.name))
    return Made(
        name=name,
        method=method,
        clip=clip,
        teacher=about_model(params.teacher),
        classifier=classifier,
        decision=decision,
        prompts=prompts,
        calibration=calibration,
        made=_made(params, task, method, seed, decision.sees),
        measured={
            **figures_of(logits, labels, plan.class_names, calibration),
            **measured,
            "tried": {method.name: 100 * float(np.mean(logits.argmax(axis=1) == labels))},
        },
    )


def _measured(
    params: Params, work: Workspace, task: Task, decision: Decision
) -> tuple[dict[str, Any], Any, Any]:
    """Return what the protocol measures, the logits (T, C) of the test images, their labels."""
    plan = task.plan
    roles: set[Role] = {decision.sees} if plan.tests_labels else {decision.sees, "teacher"}
    caches: Mapping[Role, Cache] = {role: open_role(role, params, plan, work) for role in roles}
    features = cache(lambda role: np.asarray(caches[role].features("test")))
    labels = truth(plan, caches, features)
    seen = features(decision.sees)
    measured = {
        "protocol": measures(task.protocol, plan, seen, labels, decision),
        "labels": "told" if plan.tests_labels else "teacher",
        "own_test": True,
    }
    return measured, decision.logits(seen, range(len(plan.class_names))), labels


def _made(params: Params, task: Task, method: Method, seed: int, sees: Role) -> dict[str, Any]:
    plan = task.plan
    return {
        "dataset": plan.name,
        "protocol": task.protocol.name,
        "pictures": len(task.picks[seed]) if method.learns else 0,
        "learned_classes": len(task.names) if method.learns else 0,
        "labels": "told" if plan.is_labelled else "teacher",
        "shots": task.shots,
        "crops": plan.crops,
        "seed": seed,
        "calibrated_on": TEST_IMAGES,
        "features": {
            "precision": model_of(params, sees).precision,
            "payload": params.cache.payload,
        },
        "train": params.train.model_dump(mode="json") if method.takes_steps else None,
    }


def _require_same(clip: ClipModel, classifier: Artifact, command: str) -> None:
    learned = classifier.about["student"]
    for key, found in clip.identity.items():
        if learned.get(key) != found:
            raise UserError(
                f"the classifier was learned with a student of {key} {learned.get(key)!r}, and the "
                f"student's weights are now of {found!r}. Give the same weights, or run {command} "
                "again."
            )
