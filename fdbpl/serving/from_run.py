"""The model of what a run learned: its files as they lie there, and the student's image tower."""

from collections.abc import Callable
from functools import partial

from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.clip.model import ClipModel
from fdbpl.clip.weights import about_model
from fdbpl.evaluation.calibration import calibrate
from fdbpl.methods.method import Method
from fdbpl.serving.figures import TEST_IMAGES, figures_of
from fdbpl.serving.make import Made
from fdbpl.serving.model_folder import NO_MODEL
from fdbpl.settings.params import Params
from fdbpl.stages.caches import model_of, open_caches
from fdbpl.stages.carried import text_tower
from fdbpl.stages.evaluate import Tested
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
    measure and calibrate it, as their features lie in the caches; or as they are encoded under
    learned tokens, if there are any.

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
    tested = Tested(params, work, plan, open_caches(params, plan, work), text_tower(params, work))
    logits = decision.logits(tested.features.judged_by(decision), range(len(plan.class_names)))
    calibration = calibrate(logits, tested.truth)
    clip = student()
    _require_same(clip, classifier, work.command("train-student", plan.name))
    measured = figures_of(logits, tested.truth, plan.class_names, calibration)
    shots = task.picks[seed] if method.learns else ()
    return Made(
        name=name,
        method=method,
        clip=clip,
        teacher=about_model(params.teacher),
        classifier=classifier,
        decision=decision,
        prompts=prompts,
        calibration=calibration,
        made={
            "dataset": plan.name,
            "protocol": task.protocol.name,
            "pictures": len(shots),
            "learned_classes": len(task.names) if method.learns else 0,
            "labels": "told" if plan.is_labelled else "teacher",
            "shots": task.shots,
            "crops": plan.crops,
            "seed": seed,
            "calibrated_on": TEST_IMAGES,
            "features": {
                "precision": model_of(params, decision.sees).precision,
                "payload": params.cache.payload,
            }
            if decision.image_prompts is None
            else None,
            "train": params.train.model_dump(mode="json") if method.takes_steps else None,
        },
        measured={
            **measured,
            "labels": "told" if plan.tests_labels else "teacher",
            "own_test": True,
            "chosen_by_test": False,
            "tried": {method.name: measured["accuracy"]},
            "protocol": tested.measures(task.protocol, decision),
        },
        learned=[plan.images["hash"][row].tobytes() for row in shots],
    )


def _require_same(clip: ClipModel, classifier: Artifact, command: str) -> None:
    learned = classifier.about["student"]
    for key, found in clip.identity.items():
        if learned.get(key) != found:
            raise UserError(
                f"the classifier was learned with a student of {key} {learned.get(key)!r}, and the "
                f"student's weights are now of {found!r}. Give the same weights, or run {command} "
                "again."
            )
