"""Class vectors of a plan's names under hand-written prompts: what caches keep, beside features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Role
from fdbpl.clip.model import ClipModel
from fdbpl.clip.templates import ENSEMBLE, with_room
from fdbpl.clip.vectors import template_vectors
from fdbpl.data.dataset import GENERIC_NEGATIVE, GENERIC_TEMPLATE
from fdbpl.regions.plan import Plan


def texts_of(plan: Plan, clip: ClipModel, role: Role) -> dict[str, NDArray[np.floating[Any]]]:
    """Return a role's unit class vectors (C, D) by prompt, and those of the plan's vocabulary.

    There are none before the last projection: no text lies in that space.
    """
    if role == "hidden":
        return {}
    prompts = {"template": [plan.template]}
    if role == "student":
        prompts["generic"] = [GENERIC_TEMPLATE]
        prompts["ensemble"] = _ensemble(plan, clip)
        prompts["negative"] = [GENERIC_NEGATIVE]
    texts = {
        name: template_vectors(clip, plan.class_names, *these) for name, these in prompts.items()
    }
    if plan.vocabulary:
        texts["vocabulary"] = template_vectors(clip, plan.vocabulary, plan.template)
    return texts


def without_room(plan: Plan, clip: ClipModel) -> list[str]:
    """Return the templates of the ensemble that some class name leaves no room in."""
    fitting = with_room(clip, plan.class_names, ENSEMBLE)
    return [one for one in ENSEMBLE if one not in fitting]


def _ensemble(plan: Plan, clip: ClipModel) -> list[str]:
    """Return the dataset's own template, and the generic ones that have room, each once."""
    left_out = {plan.template, *without_room(plan, clip)}
    return [plan.template, *(one for one in ENSEMBLE if one not in left_out)]
