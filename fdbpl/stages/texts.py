"""Class vectors of a plan's names under hand-written prompts: what caches keep, beside features."""

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Role
from fdbpl.clip.model import ClipModel
from fdbpl.clip.templates import ENSEMBLE, with_room
from fdbpl.clip.vectors import hand_written_vectors, template_vectors
from fdbpl.regions.plan import Plan


def texts_of(plan: Plan, clip: ClipModel, role: Role) -> dict[str, NDArray[np.float32]]:
    """Return a role's unit class vectors (C, D) by prompt, and those of the plan's vocabulary.

    There are none before the last projection: no text lies in that space.
    """
    if role == "hidden":
        return {}
    if role == "student":
        texts = hand_written_vectors(clip, plan.class_names, plan.template)
    else:
        texts = {"template": template_vectors(clip, plan.class_names, plan.template)}
    if plan.vocabulary:
        texts["vocabulary"] = template_vectors(clip, plan.vocabulary, plan.template)
    return texts


def without_room(plan: Plan, clip: ClipModel) -> list[str]:
    """Return the templates of the ensemble that some class name leaves no room in."""
    fitting = with_room(clip, plan.class_names, ENSEMBLE)
    return [one for one in ENSEMBLE if one not in fitting]
