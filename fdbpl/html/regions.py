"""Regions of a picture, and what teacher and student make of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from fdbpl.html.element import Html, element
from fdbpl.html.picture import SIDE, image, thumbnail
from fdbpl.reporting.region_view import COLOURS, Guess, RegionView, seen

WHOLE = 192
"""Pixels of the longer side of a whole picture, in which boxes must be told apart."""


@dataclass(frozen=True)
class RegionCard:
    """A picture with some of its regions.

    Attributes:
        title: what it is.
        thumb: the whole picture, as a thumbnail.
        size: width and height of the picture that the boxes are in, in pixels.
        regions: what is known of each region.
        pieces: a thumbnail of each, squeezed into a square and mirrored as the models saw it.
    """

    title: str
    thumb: str
    size: tuple[int, int]
    regions: Sequence[RegionView]
    pieces: Sequence[str]


def card_of(title: str, picture: Image.Image, regions: Sequence[RegionView]) -> RegionCard:
    """Cut regions out of their picture."""
    pieces = [seen(picture, one.box, one.flip).resize((SIDE, SIDE)) for one in regions]
    return RegionCard(
        title, thumbnail(picture, WHOLE), picture.size, regions, [*map(thumbnail, pieces)]
    )


def region_card(card: RegionCard) -> Html:
    """Return a picture with the boxes of its regions, then each region with what is said of it."""
    width, height = card.size
    scale = WHOLE / max(card.size)
    boxes = [
        element(
            "rect",
            x=one.box[0],
            y=one.box[1],
            width=one.box[2] - one.box[0],
            height=one.box[3] - one.box[1],
            stroke=_colour(number),
            stroke_width=f"{2 / scale:.3g}",
        )
        for number, one in enumerate(card.regions)
    ]
    whole = element(
        "svg",
        element("image", href=card.thumb, width=width, height=height),
        *boxes,
        viewBox=f"0 0 {width} {height}",
        width=round(scale * width),
        height=round(scale * height),
        role="img",
        aria_label=card.title,
    )
    tiles = [
        _tile(one, piece, number)
        for number, (one, piece) in enumerate(zip(card.regions, card.pieces, strict=True))
    ]
    caption = element("figcaption", card.title)
    return element(
        "div",
        element("figure", whole, caption, class_="whole"),
        element("div", *tiles, class_="tiles"),
        class_="regions",
    )


def _tile(region: RegionView, piece: str, number: int) -> Html:
    return element(
        "div",
        image(piece, f"region {number + 1}"),
        element(
            "div",
            element("small", f"w {region.w:.2f}"),
            _guesses("teacher", region.teacher),
            _guesses("student", region.student),
        ),
        class_="tile",
        style=f"--edge: {_colour(number)}",
    )


def _guesses(who: str, guesses: Sequence[Guess]) -> Html:
    rows = (
        element(
            "li",
            element("span", guess.name),
            element("span", f"{guess.probability:.0%}"),
            style=f"--share: {100 * guess.probability:.1f}%",
        )
        for guess in guesses
    )
    return element("div", element("small", who), element("ol", *rows), class_="guesses")


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
