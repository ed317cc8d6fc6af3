"""A section of the comparison: what one protocol measured, as JSON, tables and a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

WIDTH = 10  # inches


@dataclass(frozen=True)
class Section:
    """One protocol's part.

    Attributes:
        key: in compare.json.
        value: what stands there.
        tables: of the text, and lines between them.
        height: of the picture, in inches.
        draw: draws it into a figure of matplotlib's; None where there is no picture.
    """

    key: str
    value: Any
    tables: list[str]
    height: float = 0.0
    draw: Callable[[Any], None] | None = None


def plot(sections: Sequence[Section], file: BinaryIO) -> None:
    """Draw the sections that have a picture below each other, as PNG."""
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    drawn = [one for one in sections if one.draw is not None]
    heights = [one.height for one in drawn]
    figure = Figure(figsize=(WIDTH, sum(heights) or 1.0), layout="constrained", dpi=130)
    if not drawn:
        figure.text(0.5, 0.5, "No protocol that is wanted has a picture.", ha="center", va="center")
    else:
        parts = figure.subfigures(len(drawn), 1, height_ratios=heights, squeeze=False)[:, 0]
        for one, part in zip(drawn, parts, strict=True):
            assert one.draw is not None
            one.draw(part)
    figure.savefig(file, format="png", metadata={"Software": None})
