"""PromptSRC whose image tower has tokens at other layers than its first three quarters.

Methods in a file of their own, as docs/methods.md shows, for a student with six layers.
"""

from pathlib import Path

from fdbpl.methods.promptsrc import PromptSrc, PromptSrcOptions


class PromptSrcEvery(PromptSrc):
    """At all six layers."""

    class Options(PromptSrcOptions):  # noqa: D106
        image_depth: int | None = 6


class PromptSrcLast4(PromptSrc):
    """At the last four, from cached activations, as those below."""

    class Options(PromptSrcOptions):  # noqa: D106
        first_layer: int = 2


class PromptSrcLast3(PromptSrc):
    """At the last three."""

    class Options(PromptSrcOptions):  # noqa: D106
        first_layer: int = 3


class PromptSrcLast2(PromptSrc):
    """At the last two."""

    class Options(PromptSrcOptions):  # noqa: D106
        first_layer: int = 4


LATE = (PromptSrcEvery, PromptSrcLast4, PromptSrcLast3, PromptSrcLast2)
NAMES = tuple(f"{Path(__file__)}:{one.__name__}" for one in LATE)
"""As a list of methods names them."""
