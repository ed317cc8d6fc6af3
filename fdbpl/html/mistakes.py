"""The surest mistakes: each picture beside a typical one of the class that it was taken for."""

from collections.abc import Sequence
from dataclasses import dataclass

from fdbpl.html.element import Html, element
from fdbpl.html.picture import image


@dataclass(frozen=True)
class MistakeCard:
    """One picture that was taken wrongly.

    Attributes:
        picture: a thumbnail of it; None where it is not there any more.
        example: a thumbnail of the class taken; None where there is none.
        shown: name of the class that it shows.
        taken: name of the class that it was taken for.
        probability: of the latter, in [0, 1].
        path: where it lies, relative to its dataset's folder.
        note: what else there is to say of it.
    """

    picture: str | None
    example: str | None
    shown: str
    taken: str
    probability: float
    path: str
    note: str = ""


def cards(mistakes: Sequence[MistakeCard]) -> Html:
    """Return a card for each mistake, in order."""
    return element("div", *map(_card, mistakes), class_="cards")


def _card(one: MistakeCard) -> Html:
    return element(
        "figure",
        element(
            "div",
            image(one.picture, f"shows {one.shown}"),
            image(one.example, f"an example of {one.taken}"),
            class_="pair",
        ),
        element(
            "figcaption",
            element("div", element("b", one.shown), element("small", "shown")),
            element(
                "div", element("b", one.taken), element("small", f"taken, {one.probability:.0%}")
            ),
        ),
        element("small", one.path + (f" ({one.note})" if one.note else ""), class_="path"),
    )
