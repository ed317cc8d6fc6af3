"""The names of all methods, apart from their objectives so that most stages need no torch."""

from collections.abc import Sequence

UNTRAINED = ("zero_shot", "zero_shot_generic", "zero_shot_ensemble", "teacher")
"""Hand-written prompts: the dataset's template, "a photo of a {}.", the dataset's with several
generic ones, and the teacher's template."""

FITTED = ("linear_probe", "tip_adapter", "gda")
"""Classifiers on labelled image features: they know base classes only, so have no new and no H."""

TRAINED = ("coop", "kgcoop", "kdpl", "kdpl_w", "released", "paper", "fdbpl_prompts", "fdbpl")
"""Learned contexts."""

IMPORTED = "imported"
"""Contexts that another program learned, from its checkpoints."""

LEARNED = (*TRAINED, IMPORTED)
"""Those with prompts of their own, for any class list."""

LABELLED = (*FITTED, "coop", "kgcoop")
"""Those that need the class of every training image."""

KNOWN = UNTRAINED + FITTED + LEARNED


def usable(methods: Sequence[str], *, labels: bool) -> list[str]:
    """Return the methods that can learn, with labels of the training images or without."""
    return [method for method in methods if labels or method not in LABELLED]
