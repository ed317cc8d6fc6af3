"""What was learned, carried to class names that it was not learned on, through the text tower."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Decision
from fdbpl.methods.method import Classes, Method
from fdbpl.settings.params import Params
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

Carry = Callable[[Artifact, Method, Classes], Decision]
"""Makes of what a method learned what decides between the classes of a dataset."""


def text_tower(params: Params, work: Workspace) -> Carry:
    """Return what carries prompts to class names: the student's text tower, loaded when needed."""

    @cache
    def student() -> Any:
        # these load torch, which untrained methods do without
        from fdbpl.clip.model import load_model
        from fdbpl.system.device import choose_device

        clip = load_model(params.student, "student")
        clip.move_text(choose_device(params.device))
        return clip

    def carry(prompts: Artifact, method: Method, classes: Classes) -> Decision:
        from fdbpl.clip.vectors import class_vectors

        clip = student()
        if prompts.about["student"] != dict(clip.identity):
            raise UserError(
                f"the prompts of {method.name} were learned with another student than "
                f"{params.student.architecture}, {params.student.weights}. "
                f"Run {work.command('train-student', params.source)} again."
            )
        encode = partial(class_vectors, clip, class_names=classes.names)
        return method.decision(prompts.arrays, replace(classes, encode=encode, clip=clip))

    return carry
