"""A plot of matplotlib's as SVG within the page, in the page's colours, light or dark."""

import io
import re
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fdbpl.html.element import Html, element

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "#000000": "currentColor",
        "#d9d9d9": "var(--rule)",  # matplotlib's 0.85, of what stands behind
        "#b0b0b0": "var(--rule)",  # of the grid
        "#1f77b4": "var(--accent)",
        "#ff7f0e": "var(--second)",
    }
)
"""What colours of the plots are on a page that may be dark."""


def plot(draw: Callable[[Any], None], width: float, height: float, title: str) -> Html:
    """Return what a function draws into a figure of matplotlib's.

    Args:
        draw: the function.
        width: of the figure, in inches.
        height: likewise.
        title: what is seen, for those who cannot; it also makes the names within the SVG its own.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    file = io.StringIO()
    # text stays text: small, sharp and in the page's colour
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        with warnings.catch_warnings():  # only the layout asks the font, the reader has others
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawn = file.getvalue()
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # names that two plots would share
    drawn = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawn)
    for colour, ours in COLOURS.items():
        drawn = drawn.replace(colour, ours)
    return element("div", Html(drawn), class_="scroll plot", role="img", aria_label=title)
