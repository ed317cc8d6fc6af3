"""The names of all methods, apart from their objectives so that most stages need no torch."""

UNTRAINED = ("zero_shot", "zero_shot_generic", "zero_shot_ensemble", "teacher")
"""Hand-written prompts: the dataset's template, "a photo of a {}.", the dataset's with several
generic ones, and the teacher's template."""

FITTED = ("linear_probe", "tip_adapter", "gda")
"""Classifiers on labelled image features: they know base classes only, so have no new and no H."""

TRAINED = ("coop", "kgcoop", "kdpl", "kdpl_w", "released", "paper", "fdbpl_prompts", "fdbpl")
"""Learned contexts."""

KNOWN = UNTRAINED + FITTED + TRAINED
