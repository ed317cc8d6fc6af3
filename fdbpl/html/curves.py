"""Loss curves by epoch: a small panel for each term, one seed in front of the others."""

from collections.abc import Mapping, Sequence

from fdbpl.html.element import Html, coordinate, element

WIDTH, HEIGHT = 220, 110
LEFT, RIGHT, TOP, BOTTOM = 44, 6, 8, 18  # pixels around the curves, for numbers

Curves = Mapping[str, Mapping[int, Sequence[float]]]
"""By term of the loss and seed, its mean in each epoch."""


def panels(curves: Curves, seed: int) -> Html:
    """Return a panel for each term of the loss.

    Args:
        curves: at least one, of at least one epoch each.
        seed: whose curve stands out.
    """
    found = (_panel(term, of_seeds, seed) for term, of_seeds in curves.items())
    return element("div", *found, class_="panels")


def _panel(term: str, of_seeds: Mapping[int, Sequence[float]], seed: int) -> Html:
    values = [value for curve in of_seeds.values() for value in curve]
    low, high = min(values), max(values)
    epochs = max(map(len, of_seeds.values()))
    ordered = sorted(of_seeds.items(), key=lambda pair: pair[0] == seed)  # in front of the others

    def path(curve: Sequence[float]) -> str:
        points = [
            f"{coordinate(_across(place, epochs))} {coordinate(_down(value, low, high))}"
            for place, value in enumerate(curve)
        ]
        return f"M{'L'.join(points)}" + ("h0.01" if len(points) == 1 else "")

    lines = [
        element("path", d=path(curve), class_="chosen" if one == seed else "other")
        for one, curve in ordered
    ]
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    axes = element("path", d=f"M{LEFT} {TOP}V{bottom}H{right}", class_="axes")
    ends = {low: bottom, high: TOP + 4} if high > low else {low: (TOP + bottom) / 2}
    numbers = [
        element("text", f"{value:.3g}", x=LEFT - 4, y=coordinate(y), text_anchor="end")
        for value, y in ends.items()
    ]
    first = element("text", "1", x=LEFT, y=HEIGHT - 5, text_anchor="middle")
    last = element("text", f"epoch {epochs}", x=right, y=HEIGHT - 5, text_anchor="end")
    drawn = element(
        "svg",
        axes,
        *lines,
        *numbers,
        *([first, last] if epochs > 1 else [last]),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
        aria_label=f"{term} by epoch",
    )
    return element("figure", element("figcaption", term.replace("_", " ")), drawn, class_="curve")


def _across(place: int, epochs: int) -> float:
    return LEFT + 4 + (WIDTH - LEFT - RIGHT - 8) * (place / (epochs - 1) if epochs > 1 else 0.5)


def _down(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return HEIGHT - BOTTOM - 4 - (HEIGHT - TOP - BOTTOM - 8) * share
