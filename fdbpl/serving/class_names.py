"""A model on other class names than its own: here the text tower is needed, and torch with it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.artifact import Artifact
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.vectors import hand_written_vectors, template_vectors
from fdbpl.clip.weights import about_model
from fdbpl.methods.registry import METHODS, find_method
from fdbpl.serving.model_folder import CLASSIFIER, PROMPTS, ModelFolder
from fdbpl.serving.predictor import Predictor, predictor_of
from fdbpl.serving.student import load_student, params_of
from fdbpl.system.errors import UserError
from fdbpl.training.learning import classes_of


def predictor_of_names(
    model: ModelFolder,
    names: Sequence[str],
    threads: int | None = None,
    student: ModelParams | None = None,
    teacher: ModelParams | None = None,
) -> Predictor:
    """Return what predicts between other class names, of the domain that the model was learned on.

    Names that it was learned on are known as before. No threshold tells known pictures then, since
    scores are comparable among the same classes alone.

    Args:
        model: that was opened.
        names: C of them, two at least.
        threads: see `load_predictor`.
        student: architecture and weights of the student; needed where these were a file.
        teacher: likewise, for a method that asks the teacher about names.

    Raises:
        UserError: weights cannot be had, or are others than the model was learned with; the method
            is of the user's own; fewer than two names; or a name is too long.
    """
    about = model.about
    predictor = predictor_of(model, threads)
    if about.method not in METHODS:
        raise UserError(
            f"{model.path}: learned by {about.method!r}, a method of its maker's own, which is not "
            "in the model. Other class names cannot be told apart by it."
        )
    if len(names) < 2:
        raise UserError(f"class names: {', '.join(names) or 'none'}; wanted two at least.")
    clip = load_student(model, student)
    learned = {}
    if PROMPTS in model.files:
        learned = dict(Artifact.of(model.read(PROMPTS), model.path / PROMPTS, "prompts").arrays)
    classifier = Artifact.of(model.read(CLASSIFIER), model.path / CLASSIFIER, "classifier")
    method = find_method(about.method, classifier.about["options"])
    told = _teacher_vectors(model, names, teacher) if method.asks_teacher else None
    classes = classes_of(
        clip,
        names,
        texts=hand_written_vectors(clip, names, about.template),
        learned=classifier.about["learned_classes"],
        teacher=told,
    )
    return replace(
        predictor,
        decision=method.decision(learned, classes),
        class_names=tuple(names),
        knows_thresholds=False,
    )


def _teacher_vectors(
    model: ModelFolder, names: Sequence[str], given: ModelParams | None
) -> NDArray[np.float32]:
    about = model.about
    params = given or params_of(model, about.teacher, about.teacher["weights"], "teacher")
    for key, found in about_model(params).items():
        if found != about.teacher[key]:
            raise UserError(
                f"{model.path}: learned with a teacher of {key} {about.teacher[key]!r}, and the "
                f"one given is of {found!r}. Give the same."
            )
    return template_vectors(load_model(params, "teacher"), names, about.template)
