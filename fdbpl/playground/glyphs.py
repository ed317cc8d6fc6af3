"""Glyphs: every silhouette and pattern of the playground as a field, and atlases of them."""

from collections.abc import Callable, Sequence
from math import pi

import numpy as np
from numpy.typing import NDArray

from fdbpl.playground import silhouettes
from fdbpl.playground.strokes import Field, X, Y, glyph


def _wave(u: Field, n: float = 1.0) -> Field:
    """Return a wave of n periods over the tile, its slope one at the edge, as a distance."""
    return np.sin(pi * n * u) / (pi * n)


def _tiles() -> dict[str, Field]:
    """Return the patterns that fill a frame; each tile continues over its border."""
    rings = np.hypot(X, Y)
    return {
        "cobble": 0.18
        - np.hypot((X * 2 % 1 - 0.5) / 2, ((Y * 2 + np.floor(X * 2 % 2) / 2) % 1 - 0.5) / 2),
        "delta": (Y % 1) / 2 - np.abs(X % 1 - 0.5),
        "furrow": _wave(Y, 3),
        "lattice": 0.07 - np.minimum(np.abs((X + Y) % 1 - 0.5), np.abs((X - Y) % 1 - 0.5)) / 1.4,
        "marble": _wave(X + 0.18 * np.sin(pi * 2 * Y), 3),
        "maze": glyph(
            "b -.9 -.9 .4 -.7; b .2 -.7 .4 .1; b -.9 -.3 -.2 -.1; b -.9 -.1 -.7 .9; "
            "b -.3 .3 .9 .5; b .7 -.9 .9 .5;"
            "b -.3 .5 -.1 .9"
        ),
        "mosaic": 2 * _wave(X, 2) * _wave(Y, 2) * 2 * pi,
        "ripple": np.where(rings < 1, _wave(rings * 2 + 0.5, 2) / 2, -0.05),
        "terrace": _wave(np.abs(X % 1 - 0.5) * 2 + Y, 2) / 2,
        "weave": np.where(
            (np.floor(X * 2) + np.floor(Y * 2)) % 2 > 0,
            0.14 - np.abs(X * 2 % 1 - 0.5) / 2,
            0.14 - np.abs(Y * 2 % 1 - 0.5) / 2,
        ),
    }


def _patterns() -> dict[str, Field]:
    """Return the patterns that a coloured thing or ground may wear."""
    return {
        "plain": np.full(X.shape, -2.0),
        "striped": _wave(X, 4),
        "dotted": 0.15 - np.hypot((X * 2 % 1 - 0.5) / 2, (Y * 2 % 1 - 0.5) / 2),
        "checked": 2 * pi * _wave(X, 2) * _wave(Y, 2) * 2,
        "netted": 0.05 - np.minimum(np.abs(X * 2 % 1 - 0.5), np.abs(Y * 2 % 1 - 0.5)) / 2,
        "zigzag": _wave(np.abs(X * 2 % 1 - 0.5) * 1.5 + Y * 2, 2) / 2,
    }


def _fields(lines: dict[str, str]) -> dict[str, Field]:
    return {name: glyph(strokes) for name, strokes in lines.items()}


FAMILIES: dict[str, Callable[[], dict[str, Field]]] = {
    "thing": lambda: _fields(silhouettes.THINGS),
    "animal": lambda: _fields(silhouettes.ANIMALS),
    "vehicle": lambda: _fields(silhouettes.VEHICLES),
    "aircraft": lambda: _fields(silhouettes.AIRCRAFT),
    "figure": lambda: _fields(silhouettes.FIGURES),
    "flower": lambda: _fields(silhouettes.FLOWERS),
    "dish": lambda: _fields(silhouettes.DISHES),
    "scene": lambda: _fields(silhouettes.SCENES),
    "land": lambda: _fields(silhouettes.LANDS),
    "texture": _tiles,
    "pattern": _patterns,
}


def atlas(family: str, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the fields of `names` of one family, float32 (len(names), GRID, GRID)."""
    fields = FAMILIES[family]()
    return np.stack([fields[name] for name in names]).astype(np.float32)
