"""The names of all methods, apart from their objectives so that most stages need no torch."""

UNTRAINED = ("zero_shot", "zero_shot_generic", "teacher")
"""Hand-written prompts: the dataset's template, "a photo of a {}.", and the teacher's template."""

TRAINED = ("coop", "kdpl", "released", "paper", "fdbpl")
"""Learned contexts."""

KNOWN = UNTRAINED + TRAINED
