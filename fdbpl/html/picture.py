"""Pictures within the page: small JPEGs as data URIs."""

import base64
import io

from PIL import Image

from fdbpl.html.element import Html, element

SIDE = 96
"""Pixels of a thumbnail's longer side."""
QUALITY = 80
MISSING = "missing or changed"


def thumbnail(picture: Image.Image, side: int = SIDE) -> str:
    """Return a picture as a data URI of a JPEG that is no larger than `side` squared."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def image(thumb: str | None, words: str) -> Html:
    """Return a thumbnail, or in the place of one that there is not, that it is missing.

    Args:
        thumb: as `thumbnail` returns it, or None.
        words: what is seen, for those who cannot.
    """
    if thumb is None:
        return element("span", MISSING, class_="missing")
    return element("img", src=thumb, alt=words)
