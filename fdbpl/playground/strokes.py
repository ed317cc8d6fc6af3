"""Strokes: the small language that silhouettes are written in, and the fields it draws.

A field is positive inside, negative outside, in units of the glyph's half-width: the square
[-1, 1] x [-1, 1], x to the right, y down. A silhouette is a line of strokes, one letter each:

    c x y r            disc                      b x0 y0 x1 y1      box
    l x0 y0 x1 y1 w    line with round ends      p x y x y x y ...  polygon
    -                  before a stroke: cut it out of what stands so far
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]

GRID = 96  # cells along a glyph's side: finer than any glyph is drawn
_axis = (np.arange(GRID) + 0.5) * (2 / GRID) - 1
X, Y = np.meshgrid(_axis, _axis)


def _disc(x: float, y: float, r: float) -> Field:
    field: Field = r - np.hypot(X - x, Y - y)
    return field


def _line(x0: float, y0: float, x1: float, y1: float, w: float) -> Field:
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((X - x0) * dx + (Y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    field: Field = w - np.hypot(X - x0 - along * dx, Y - y0 - along * dy)
    return field


def _box(x0: float, y0: float, x1: float, y1: float) -> Field:
    field: Field = np.minimum(np.minimum(X - x0, x1 - X), np.minimum(Y - y0, y1 - Y))
    return field


def _polygon(*points: float) -> Field:
    corners = list(zip(points[::2], points[1::2], strict=True))
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    distance = np.min([-_line(*a, *b, 0.0) for a, b in edges], axis=0)
    inside = np.zeros(X.shape, bool)
    for (x0, y0), (x1, y1) in edges:
        if y0 != y1:
            crossing = (x1 - x0) * (Y - y0) / (y1 - y0) + x0
            inside ^= ((y0 > Y) != (y1 > Y)) & (crossing > X)
    field: Field = np.where(inside, distance, -distance)
    return field


STROKES: dict[str, Callable[..., Field]] = {"c": _disc, "l": _line, "b": _box, "p": _polygon}


def glyph(strokes: str) -> Field:
    """Return the field of a line of strokes separated by semicolons."""
    field = np.full(X.shape, -2.0)
    for stroke in strokes.split(";"):
        letter, *numbers = stroke.split()
        part = STROKES[letter.removeprefix("-")](*map(float, numbers))
        field = np.minimum(field, -part) if letter.startswith("-") else np.maximum(field, part)
    return field
