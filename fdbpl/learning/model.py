"""The model of what was learned from pictures: a folder with its card."""

from pathlib import Path
from typing import Any

from fdbpl.classify.artifact import Artifact, classifier_of
from fdbpl.clip.weights import about_model
from fdbpl.evaluation.calibration import calibrate
from fdbpl.learning.figures import figures
from fdbpl.learning.learn import Outcome
from fdbpl.learning.request import FOLDS, Request
from fdbpl.regions.plan import Plan
from fdbpl.serving.card import card_files
from fdbpl.serving.figures import HELD_OUT
from fdbpl.serving.make import Made, save_model


def made_of(name: str, request: Request, outcome: Outcome) -> Made:
    """Return the model of an outcome, calibrated on the pictures held out."""
    held_out, plan, method = outcome.held_out, outcome.plan, outcome.method
    calibration = calibrate(held_out.logits, held_out.labels)
    about = _about(request, outcome)
    prompts = None
    if outcome.learned is not None:
        prompts = Artifact(outcome.learned.arrays, {"kind": "prompts", **about})
    return Made(
        name=name,
        method=method,
        clip=outcome.clip,
        teacher=about_model(outcome.params.teacher),
        classifier=classifier_of(outcome.decision, about),
        decision=outcome.decision,
        prompts=prompts,
        calibration=calibration,
        made={
            "pictures": len(plan.shots[request.seed]),
            "labels": "told" if plan.is_labelled else "teacher",
            "shots": request.shots,
            "crops": plan.crops,
            "seed": request.seed,
            "folds": FOLDS,
            "calibrated_on": HELD_OUT,
            "train": outcome.params.train.model_dump(mode="json") if method.takes_steps else None,
        },
        measured=figures(outcome, calibration),
        learned=_pictures(plan, request.seed) if method.learns else (),
    )


def _pictures(plan: Plan, seed: int) -> list[bytes]:
    """Return the digests of the pictures that a seed learns from."""
    return [plan.images["hash"][row].tobytes() for row in plan.shots[seed]]


def save(path: Path, made: Made) -> int:
    """Write a model with its card; return its size in bytes. Errors as of `save_model`."""
    return save_model(path, made, card_files(made.about))


def _about(request: Request, outcome: Outcome) -> dict[str, Any]:
    plan, method, learned = outcome.plan, outcome.method, outcome.learned
    return {
        "method": method.name,
        "options": method.options.model_dump(mode="json"),
        "student": dict(outcome.clip.identity),
        "logit_scale": outcome.clip.logit_scale,
        "class_names": list(plan.class_names),
        "learned_classes": [] if learned is None else list(learned.names),
        "template": plan.template,
        "plan": plan.digest,
        "seed": request.seed,
    }
