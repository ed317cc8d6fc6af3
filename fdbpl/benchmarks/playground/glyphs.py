"""Glyphs: every silhouette and pattern of the playground, as signed fields on one small grid.

A field is positive inside, negative outside, in units of the glyph's half-width: the square
[-1, 1] x [-1, 1], x to the right, y down. A silhouette is a line of strokes, one letter each:

    c x y r            disc                      b x0 y0 x1 y1      box
    l x0 y0 x1 y1 w    line with round ends      p x y x y x y ...  polygon
    -                  before a stroke: cut it out of what stands so far
"""

from collections.abc import Callable, Sequence
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]

GRID = 96  # cells along a glyph's side: finer than any glyph is drawn
_axis = (np.arange(GRID) + 0.5) * (2 / GRID) - 1
X, Y = np.meshgrid(_axis, _axis)


def _disc(x: float, y: float, r: float) -> Field:
    return r - np.hypot(X - x, Y - y)


def _line(x0: float, y0: float, x1: float, y1: float, w: float) -> Field:
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((X - x0) * dx + (Y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    return w - np.hypot(X - x0 - along * dx, Y - y0 - along * dy)


def _box(x0: float, y0: float, x1: float, y1: float) -> Field:
    return np.minimum(np.minimum(X - x0, x1 - X), np.minimum(Y - y0, y1 - Y))


def _polygon(*points: float) -> Field:
    corners = list(zip(points[::2], points[1::2], strict=True))
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    distance = np.min([-_line(*a, *b, 0.0) for a, b in edges], axis=0)
    inside = np.zeros(X.shape, bool)
    for (x0, y0), (x1, y1) in edges:
        if y0 != y1:
            inside ^= ((y0 > Y) != (y1 > Y)) & (X < (x1 - x0) * (Y - y0) / (y1 - y0) + x0)
    return np.where(inside, distance, -distance)


STROKES: dict[str, Callable[..., Field]] = {"c": _disc, "l": _line, "b": _box, "p": _polygon}


def glyph(strokes: str) -> Field:
    """Return the field of a line of strokes separated by semicolons."""
    field = np.full(X.shape, -2.0)
    for stroke in strokes.split(";"):
        letter, *numbers = stroke.split()
        part = STROKES[letter.removeprefix("-")](*map(float, numbers))
        field = np.minimum(field, -part) if letter.startswith("-") else np.maximum(field, part)
    return field


def _around(n: int, stroke: Callable[[float, float], str], turn: float = 0.0) -> str:
    """Repeat a stroke n times around the middle; it is given (cosine, sine) of each direction."""
    angles = [2 * pi * k / n - pi / 2 + turn for k in range(n)]
    return ";".join(stroke(cos(a), sin(a)) for a in angles)


def _burst(n: int, outer: float, inner: float) -> str:
    """Return a star of n points."""
    turns = [(k, inner if k % 2 else outer) for k in range(2 * n)]
    return "p " + " ".join(f"{r * sin(pi * k / n)} {-r * cos(pi * k / n)}" for k, r in turns)


def _legs(top: float, foot: float, *xs: float, w: float = 0.07) -> str:
    return ";".join(f"l {x} {top} {x} {foot} {w}" for x in xs)


def _wheels(r: float, *xs: float) -> str:
    return ";".join(f"-c {x} .4 {r + 0.07}; c {x} .4 {r}" for x in xs)


def _plane(root: float, tip: float, span: float, chord: float, taper: float, tail: float) -> str:
    """Return an aircraft from above, nose up: wings by leading edge at root and tip."""
    wing = f"p 0 {root} {span} {tip} {span} {tip + taper} 0 {root + chord}"
    left = f"p 0 {root} {-span} {tip} {-span} {tip + taper} 0 {root + chord}"
    return f"l 0 -.75 0 .75 .13; {wing}; {left}; l {-tail} .8 {tail} .8 .07"


def _figure(*joints: float) -> str:
    """Return a person: elbow, hand twice, knee, foot twice, as x y pairs."""
    pairs = list(zip(joints[::2], joints[1::2], strict=True))
    strokes = ["c 0 -.72 .19", "l 0 -.42 0 .1 .13"]
    for (x0, y0), (mid, end), w in (
        ((0, -0.4), pairs[0:2], 0.08),
        ((0, -0.4), pairs[2:4], 0.08),
        ((0, 0.1), pairs[4:6], 0.09),
        ((0, 0.1), pairs[6:8], 0.09),
    ):
        strokes += [
            f"l {x0} {y0} {mid[0]} {mid[1]} {w}",
            f"l {mid[0]} {mid[1]} {end[0]} {end[1]} {w}",
        ]
    return ";".join(strokes)


THINGS = {
    "arrow": "p 0 -.95 .8 0 -.8 0; b -.28 -.1 .28 .9",
    "bolt": "p .25 -.95 -.65 .15 -.05 .15 -.25 .95 .65 -.2 .05 -.2",
    "cross": "b -.3 -.9 .3 .9; b -.9 -.3 .9 .3",
    "crown": "p -.8 .7 -.95 -.6 -.45 .05 0 -.8 .45 .05 .95 -.6 .8 .7",
    "drop": "c 0 .32 .58; p -.54 .1 .54 .1 0 -.95",
    "heart": "c -.42 -.3 .46; c .42 -.3 .46; p -.82 -.08 .82 -.08 0 .9",
    "key": "c -.5 0 .42; -c -.5 0 .17; b -.15 -.13 .92 .13; b .42 0 .58 .48; b .74 0 .9 .42",
    "moon": "c -.05 0 .9; -c .4 -.1 .72",
    "ring": "c 0 0 .9; -c 0 0 .52",
    "star": _burst(5, 0.98, 0.4),
}

ANIMALS = {
    "beetle": "c 0 .2 .52; c 0 -.45 .28; l -.8 -.4 .8 .8 .06; l .8 -.4 -.8 .8 .06; l -.9 .2 .9 .2 .06",
    "bronco": "l -.3 .4 .25 -.2 .25; l .3 -.3 .5 -.75 .13; l .5 -.75 .82 -.6 .1; l -.35 .4 -.5 .9 .09;"
    "l -.2 .5 0 .9 .09; l .3 -.1 .8 .05 .08; l .3 0 .65 .35 .08; l -.45 .3 -.88 .5 .08",
    "cougar": f"l -.45 .2 .4 .2 .22; c .68 0 .22; {_legs(0.3, 0.75, -0.55, -0.35, 0.3, 0.5, w=0.08)};"
    "l -.6 .1 -.9 -.7 .08; l -.9 -.7 -.6 -.85 .08",
    "fox": f"l -.2 .15 .35 .1 .18; c .6 -.1 .2; p .45 -.15 .5 -.6 .68 -.2; p .62 -.2 .82 -.6 .82 -.1;"
    f"l .7 0 .92 .1 .06; {_legs(0.2, 0.75, -0.3, -0.15, 0.25, 0.4, w=0.06)}; l -.35 .1 -.75 -.2 .2",
    "impala": f"l -.35 .05 .35 .05 .17; l .4 0 .6 -.4 .09; l .6 -.42 .85 -.32 .09; l .58 -.5 .3 -.95 .05;"
    f"l .66 -.5 .75 -.95 .05; {_legs(0.1, 0.92, -0.42, -0.3, 0.3, 0.42, w=0.05)}",
    "jaguar": "c -.2 .4 .45; l 0 .2 .3 -.2 .22; c .4 -.48 .27; p .2 -.55 .2 -.95 .4 -.7;"
    "p .45 -.7 .65 -.95 .62 -.5; l .3 0 .35 .8 .1; l -.5 .75 -.9 .3 .07",
    "mustang": f"l -.4 0 .35 0 .24; l .4 -.1 .62 -.6 .15; l .62 -.65 .88 -.45 .11;"
    f"{_legs(0.1, 0.92, -0.55, -0.35, 0.3, 0.5, w=0.08)}; l -.6 -.1 -.88 .45 .1",
    "rabbit": "c -.15 .4 .45; c .4 0 .28; l .32 -.25 .12 -.85 .09; l .48 -.25 .5 -.88 .09; c -.65 .45 .15;"
    "l -.1 .85 .4 .85 .09",
    "ram": f"l -.35 .05 .3 .05 .36; c .62 -.2 .34; -c .6 -.2 .13; {_legs(0.3, 0.9, -0.5, -0.25, 0.2, 0.45)}",
    "viper": "l -.9 .5 -.5 0 .13; l -.5 0 -.1 .5 .13; l -.1 .5 .3 0 .13; l .3 0 .6 -.4 .13; c .68 -.52 .22",
}

VEHICLES = {
    "beetle": f"c 0 .1 .6; b -.9 .1 .9 .4; -b -1 .45 1 1; {_wheels(0.22, -0.55, 0.55)}",
    "bronco": f"b -.8 -.6 .5 .4; b .3 -.1 .95 .4; -b .05 -.45 .35 -.15; {_wheels(0.25, -0.45, 0.6)}",
    "cougar": f"p -.95 .4 -.95 .05 -.4 0 -.1 -.35 .35 -.35 .65 0 .97 .12 .97 .4; {_wheels(0.2, -0.6, 0.6)}",
    "fox": "c -.55 .4 .4; -c -.55 .4 .24; c .55 .4 .4; -c .55 .4 .24; l -.55 .4 0 .05 .09;"
    "l 0 .05 .55 .4 .09; l -.35 -.15 .2 -.15 .13; l .55 .4 .3 -.5 .07; l .3 -.5 .1 -.55 .07",
    "impala": f"b -.98 0 .98 .4; p -.6 0 -.4 -.45 .4 -.45 .6 0; -b -.32 -.35 -.05 -.02; -b .05 -.35 .32 -.02;"
    f"{_wheels(0.18, -0.6, 0.6)}",
    "jaguar": f"p -.95 .4 -.95 .15 -.2 .1 .95 .25 .95 .4; b -.97 -.4 -.8 .2; b -.97 -.5 -.55 -.35;"
    f"c -.1 .05 .2; {_wheels(0.28, -0.55, 0.55)}",
    "mustang": f"b -.97 0 .97 .4; b 0 -.55 .55 .1; {_wheels(0.22, -0.55, 0.6)}",
    "rabbit": f"p -.65 .45 -.7 -.7 .2 -.7 .6 -.1 .7 .45; -b -.5 -.5 .1 -.15; {_wheels(0.2, -0.4, 0.4)}",
    "ram": f"b -.97 -.75 .3 .35; b .38 -.3 .95 .35; {_wheels(0.18, -0.7, -0.3, 0.65)}",
    "viper": "b -.3 -.1 .8 .25; b -.6 -.85 .05 -.7; l -.5 -.8 -.5 0 .05; l 0 -.8 0 0 .05; l .55 -.1 .55 -.5 .07;"
    "-c -.4 .35 .6; c -.4 .35 .53; -c -.4 .35 .2; -c .6 .6 .35; c .6 .6 .28",
}

AIRCRAFT = {
    "condor": _plane(-0.3, -0.25, 0.97, 0.3, 0.2, 0.35),
    "crane": "l 0 -.4 0 .85 .1; c 0 -.2 .3; l -.8 -.9 .8 .5 .05; l .8 -.9 -.8 .5 .05; l -.25 .85 .25 .85 .06",
    "crow": "p 0 -.97 .85 .8 0 .55 -.85 .8",
    "eagle": _plane(-0.3, 0.35, 0.95, 0.4, 0.15, 0.4),
    "falcon": _plane(0.1, -0.45, 0.85, 0.4, 0.2, 0.35),
    "heron": "l 0 -.7 0 .85 .12; b -.95 -.6 .95 -.35; b -.95 -.1 .95 .15; l -.35 .85 .35 .85 .08",
    "pigeon": f"c 0 -.35 .38; {_plane(-0.15, -0.1, 0.7, 0.35, 0.3, 0.3)}",
    "raven": "p 0 -.6 .97 .5 .75 .65 0 0 -.75 .65 -.97 .5",
    "swan": "b -.45 -.6 -.28 .9; b .28 -.6 .45 .9; b -.95 -.3 .95 .05; b -.45 .7 .45 .88; c 0 -.25 .22",
    "swift": "l 0 -.9 0 .9 .06; l -.97 -.05 0 -.3 .07; l .97 -.05 0 -.3 .07; l -.3 .85 .3 .85 .05; c 0 -.5 .13",
}

FIGURES = {
    "condor": _figure(
        -0.5, -0.4, -0.9, -0.4, 0.5, -0.4, 0.9, -0.4, -0.2, 0.5, -0.2, 0.9, 0.2, 0.5, 0.2, 0.9
    ),
    "crane": _figure(
        -0.2, -0.7, -0.2, -0.97, 0.2, -0.7, 0.2, -0.97, 0, 0.5, 0, 0.95, 0.45, 0.3, 0.05, 0.5
    ),
    "crow": _figure(
        -0.4, -0.15, -0.1, 0.1, 0.4, -0.15, 0.1, 0.1, -0.5, 0.3, -0.35, 0.85, 0.5, 0.3, 0.35, 0.85
    ),
    "eagle": _figure(
        -0.5, -0.6, -0.8, -0.95, 0.5, -0.6, 0.8, -0.95, -0.4, 0.5, -0.75, 0.9, 0.4, 0.5, 0.75, 0.9
    ),
    "falcon": _figure(
        0.4, -0.4, 0.9, -0.4, 0.4, -0.15, 0.85, -0.15, -0.4, 0.4, -0.85, 0.75, 0.4, 0.3, 0.4, 0.9
    ),
    "heron": _figure(-0.3, 0, -0.3, 0.35, 0.3, 0, 0.3, 0.35, 0, 0.5, 0, 0.95, 0.4, 0.1, 0.9, 0.1),
    "pigeon": _figure(
        -0.4, -0.2, -0.7, 0.1, 0.4, -0.2, 0.7, 0.1, -0.45, 0.4, -0.9, 0.4, 0.45, 0.4, 0.9, 0.4
    ),
    "raven": _figure(
        0.35,
        -0.55,
        0.7,
        -0.85,
        -0.3,
        -0.1,
        -0.55,
        0.2,
        -0.1,
        0.5,
        -0.15,
        0.95,
        0.1,
        0.5,
        0.15,
        0.95,
    ),
    "swan": _figure(
        -0.4, -0.4, -0.6, -0.8, 0.4, -0.4, 0.6, -0.8, -0.6, 0.25, -0.15, 0.5, 0.6, 0.25, 0.15, 0.5
    ),
    "swift": _figure(
        0.35, -0.25, 0.7, -0.5, -0.35, -0.3, -0.5, 0.05, 0.5, 0.25, 0.5, 0.7, -0.3, 0.5, -0.85, 0.6
    ),
}

FLOWERS = {
    "clover": _around(4, lambda x, y: f"c {0.5 * x} {0.5 * y} .42", pi / 4) + "; l 0 0 .3 .97 .06",
    "daisy": _around(12, lambda x, y: f"l 0 0 {0.85 * x} {0.85 * y} .08") + "; -c 0 0 .2",
    "ginger": _around(3, lambda x, y: f"l {0.2 * x} {0.2 * y} {0.75 * x} {0.75 * y} .22"),
    "iris": _around(6, lambda x, y: f"l 0 0 {0.8 * x} {0.8 * y} .14"),
    "lotus": "p -.95 -.2 -.3 .7 0 .2; p .95 -.2 .3 .7 0 .2; p -.55 -.6 -.3 .7 .2 .5; p .55 -.6 .3 .7 -.2 .5;"
    "p 0 -.9 .3 0 .2 .7 -.2 .7 -.3 0",
    "mallow": _around(5, lambda x, y: f"c {0.5 * x} {0.5 * y} .42") + "; -c 0 0 .22",
    "poppy": "c 0 0 .88; -c 0 0 .32; c 0 0 .2",
    "rose": "c 0 0 .9; -c 0 0 .72; c 0 0 .56; -c .05 0 .38; c .05 0 .22",
    "saffron": "p -.8 -.8 -.5 .3 0 .5 .5 .3 .8 -.8 .3 -.1 0 -.95 -.3 -.1; l 0 .3 0 .95 .07",
    "sorrel": _around(8, lambda x, y: f"c {0.68 * x} {0.68 * y} .2") + "; c 0 0 .25",
}

DISHES = {
    "clover": "p 0 -.9 .95 .8 -.95 .8",
    "daisy": _around(6, lambda x, y: f"c {0.62 * x} {0.62 * y} .27") + "; c 0 0 .27",
    "ginger": "b -.85 -.75 .85 -.35; b -.85 -.2 .85 .2; b -.85 .35 .85 .75",
    "iris": "c 0 .6 .95; -b -1 .45 1 1",
    "lotus": "c 0 0 .95; -l 0 0 1.5 -.9 .1; -l 0 0 1.5 .9 .1; -p 0 0 1.5 -.9 1.5 .9",
    "mallow": "b -.8 -.8 -.1 -.1; b .1 -.8 .8 -.1; b -.8 .1 -.1 .8; b .1 .1 .8 .8",
    "poppy": "l -.7 -.6 .7 -.6 .12; l .7 -.6 -.7 0 .12; l -.7 0 .7 0 .12; l .7 0 -.7 .6 .12; l -.7 .6 .7 .6 .12",
    "rose": "c -.35 0 .6; c .35 0 .6; -c 0 0 .25",
    "saffron": "l -.75 .35 0 .6 .2; l 0 .6 .75 .35 .2; l -.75 -.4 0 -.15 .2; l 0 -.15 .75 -.4 .2",
    "sorrel": "l -.7 .7 .5 -.5 .12; c .55 -.55 .4; c -.1 -.45 .2; c .45 .1 .2",
}

SCENES = {
    "canyon": "p -1 -.6 -.45 -.6 -.2 1 -1 1; p 1 -.6 .45 -.6 .2 1 1 1; b -1 .8 1 1",
    "dunes": "c -.6 1 .7; c .5 1.2 1; b -1 .8 1 1",
    "forest": ";".join(
        f"p {x - 0.22} .6 {x} {-0.6 + 0.2 * (k % 2)} {x + 0.22} .6"
        for k, x in enumerate((-0.8, -0.4, 0, 0.4, 0.8))
    )
    + "; b -1 .5 1 1",
    "harbour": "b -1 .55 1 1; p -.7 .2 .5 .2 .3 .5 -.5 .5; l -.1 .2 -.1 -.8 .04; p -.02 -.7 .5 .05 -.02 .05",
    "island": "b -1 .75 1 1; c 0 1.15 .75; l 0 .5 .15 -.3 .06; l .15 -.3 .6 -.4 .09; l .15 -.3 -.3 -.4 .09;"
    "l .15 -.3 .35 -.7 .09; l .15 -.3 -.1 -.7 .09",
    "meadow": "b -1 .3 1 1",
    "peak": "p -1 1 0 -.85 1 1",
    "ridge": "p -1 1 -1 .2 -.65 -.4 -.3 .2 0 -.4 .35 .2 .7 -.4 1 .2 1 1",
    "tower": "b -1 .7 1 1; b -.25 -.75 .25 .8; b -.4 -.9 .4 -.6; -b -.08 -.3 .08 0",
    "village": "b -1 .7 1 1; b -.85 .2 -.25 .8; p -.95 .2 -.55 -.25 -.15 .2; b .15 .2 .75 .8; p .05 .2 .45 -.25 .85 .2",
}

LANDS = {
    "cobble": ";".join(f"c {x} {y} .24" for x in (-0.66, 0, 0.66) for y in (-0.66, 0, 0.66)),
    "delta": "l 0 -1 0 -.3 .14; l 0 -.3 -.8 1 .14; l 0 -.3 .8 1 .14; l 0 -.3 0 1 .14",
    "furrow": ";".join(f"b -1 {y} 1 {y + 0.22}" for y in (-0.95, -0.5, -0.05, 0.4, 0.85)),
    "lattice": "b -.5 -1 -.3 1; b .3 -1 .5 1; b -1 -.5 1 -.3; b -1 .3 1 .5",
    "marble": "p -1 -1 .1 -1 -.2 -.6 .25 -.2 -.15 .2 .3 .6 0 1 -1 1",
    "maze": "b -.9 -.9 -.1 .3; b .1 -.9 .9 -.3; b .1 -.1 .9 .9; b -.9 .5 -.1 .9",
    "mosaic": "b -1 -1 0 0; b 0 0 1 1",
    "ripple": "c 0 0 .85; -c 0 0 .42",
    "terrace": "c -1 -1 2.2; -c -1 -1 1.85; c -1 -1 1.5; -c -1 -1 1.15; c -1 -1 .8; -c -1 -1 .45",
    "weave": "l -.6 -1 -.6 -.4 .16; l -.6 -.4 .6 .4 .16; l .6 .4 .6 1 .16",
}


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
            "b -.9 -.9 .4 -.7; b .2 -.7 .4 .1; b -.9 -.3 -.2 -.1; b -.9 -.1 -.7 .9; b -.3 .3 .9 .5; b .7 -.9 .9 .5;"
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
    "thing": lambda: _fields(THINGS),
    "animal": lambda: _fields(ANIMALS),
    "vehicle": lambda: _fields(VEHICLES),
    "aircraft": lambda: _fields(AIRCRAFT),
    "figure": lambda: _fields(FIGURES),
    "flower": lambda: _fields(FLOWERS),
    "dish": lambda: _fields(DISHES),
    "scene": lambda: _fields(SCENES),
    "land": lambda: _fields(LANDS),
    "texture": _tiles,
    "pattern": _patterns,
}


def atlas(family: str, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the fields of `names` of one family, float32 (len(names), GRID, GRID)."""
    fields = FAMILIES[family]()
    return np.stack([fields[name] for name in names]).astype(np.float32)
