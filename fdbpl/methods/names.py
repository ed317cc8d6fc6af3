"""The names of all methods, apart from their objectives so that most stages need no torch."""

from collections.abc import Sequence

UNTRAINED = ("zero_shot", "zero_shot_generic", "zero_shot_ensemble", "teacher")
"""Hand-written prompts: the dataset's template, "a photo of a {}.", the dataset's with several
generic ones, and the teacher's template."""

FITTED = ("linear_probe", "tip_adapter", "gda")
"""Classifiers on labelled image features, which know base classes only: the dataset's template
speaks for all others."""

CLOSED_FORM = ("gda_teacher", "template_memory")
"""The template beside what follows from the teacher's regions in closed form; nothing is learned by
gradient."""

TRAINED = (
    *("coop", "coop_memory", "kgcoop", "kdpl", "kdpl_memory", "kdpl_w"),
    *("released", "paper", "fdbpl_prompts", "fdbpl"),
)
"""Learned contexts, of some beside closed-form knowledge."""

IMPORTED = "imported"
"""Contexts that another program learned, from its checkpoints."""

FROM_REGIONS = CLOSED_FORM + TRAINED
"""What the stage train-student makes of the regions."""

LEARNED = (*FROM_REGIONS, IMPORTED)
"""Those with prompts files, for any class list."""

LABELLED = (*FITTED, "coop", "coop_memory", "kgcoop")
"""Those that need the class of every training image."""

KNOWN = UNTRAINED + FITTED + LEARNED


def usable(methods: Sequence[str], *, labels: bool) -> list[str]:
    """Return the methods that can learn, with labels of the training images or without."""
    return [method for method in methods if labels or method not in LABELLED]
