"""Drawing scenes: all images of a batch at once, layer by layer, from the atlas of glyphs."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdbpl.playground import glyphs
from fdbpl.playground.strokes import GRID
from fdbpl.playground.world import (
    COLOURS,
    FAMILY,
    FRAMED,
    KINDS,
    MAIN,
    NOUNS,
    PATTERNS,
    RGB,
    Scenes,
)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
WHOLE = np.array([[0.0, 0.0, 1.0]])  # a window: centre x, y and half-width


@cache
def _atlas() -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return every glyph's field by number, which of them repeat, and which end at their tile."""
    fields = [np.full((1, GRID, GRID), 2.0, np.float32)]
    fields += [glyphs.atlas(FAMILY[kind], NOUNS[kind]) for kind in KINDS]
    kind = np.array(["ground"] + [k for k in KINDS for _ in NOUNS[k]])
    return np.concatenate(fields), kind == "texture", ~np.isin(kind, ["ground", *FRAMED])


@cache
def _patterns() -> Floats:
    return glyphs.atlas("pattern", PATTERNS)


@cache
def _grain() -> Floats:
    """Return a fixed sheet of grain that every image takes a piece of."""
    bits = np.random.Philox(key=2718).random_raw(256 * 256 * 3)
    grain: Floats = (bits >> 40).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return grain.reshape(3, 256, 256)


def _look_up(fields: Floats, number: NDArray[np.intp], u: Floats, v: Floats) -> Floats:
    """Return fields[number] at (u, v) in [-1, 1], the nearest cell: (n, S, S) for number (n,)."""
    half = GRID / 2
    last = np.float32(GRID - 1)
    column = np.clip(u * half + half, 0, last).astype(np.int32)
    row = np.clip(v * half + half, 0, last).astype(np.int32)
    start = (number.astype(np.int32) * GRID**2)[:, None, None]
    found: Floats = np.take(fields.reshape(-1), start + row * GRID + column)
    return found


def _fold(u: Floats) -> Floats:
    """Bring coordinates back into one tile, [-1, 1)."""
    folded: Floats = u - 2 * np.floor((u + 1) * 0.5)
    return folded


class View(NamedTuple):
    """Where each pixel looks: x and y (n, S, S) in the frame, and a pixel's width (n,)."""

    x: Floats
    y: Floats
    pixel: Floats

    def rows(self, index: NDArray[np.intp]) -> "View":
        """Return the views of some of the images."""
        return View(self.x[index], self.y[index], self.pixel[index])


def _cover(layer: Scenes, view: View) -> tuple[Floats, Floats, Floats, Floats]:
    """Return how much of each pixel a layer's shape covers, its edge, and its own coordinates."""
    fields, repeats, ends = _atlas()
    number = layer["glyph"].astype(np.intp)
    turn = np.stack([np.cos(layer["angle"]), np.sin(layer["angle"])]) / layer["size"]
    cos, sin = turn.astype(np.float32)[:, :, None, None]
    dx = view.x - layer["x"].astype(np.float32)[:, None, None]
    dy = view.y - layer["y"].astype(np.float32)[:, None, None]
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    again = repeats[number]
    if again.any():
        u[again], v[again] = _fold(u[again]), _fold(v[again])
    field = _look_up(fields, number, u, v)
    cut = ends[number]
    field[cut] = np.minimum(field[cut], 1 - np.maximum(np.abs(u[cut]), np.abs(v[cut])))
    sharp = (layer["size"].astype(np.float32) / view.pixel)[:, None, None]
    cover: Floats = np.clip(field * sharp + 0.5, 0, 1)
    edge: Floats = np.clip(1.3 - np.abs(field * sharp), 0, 1)
    return cover, edge, u, v


def _paint(image: Floats, layer: Scenes, sketch: NDArray[np.bool_], view: View) -> Floats:
    """Paint one layer over `image` (n, 3, S, S) in place; return what it covers (n, S, S)."""
    cover, edge, u, v = _cover(layer, view)
    base = np.array([RGB[name] for name in COLOURS])[layer["colour"]] + layer["tint"]
    tone = np.where(base.mean(-1, keepdims=True) > 0.45, base * 0.5, base * 0.5 + 0.45)
    base, tone = (np.clip(c, 0, 1).astype(np.float32)[:, :, None, None] for c in (base, tone))
    change = base - image
    worn = np.flatnonzero(layer["pattern"])
    if len(worn):
        tile = (layer["size"] / layer["period"]).astype(np.float32)[worn, None, None]
        number = layer["pattern"][worn].astype(np.intp)
        field = _look_up(_patterns(), number, _fold(u[worn] * tile), _fold(v[worn] * tile))
        sharp = (layer["period"].astype(np.float32) / view.pixel)[worn, None, None]
        ink = np.clip(field * sharp + 0.5, 0, 1)[:, None]
        change[worn] += ink * (tone[worn] - base[worn])
    change *= np.where(sketch[:, None, None], edge, cover)[:, None]
    image += change
    return cover


@cache
def _shares() -> NDArray[np.float64]:
    fields, _, _ = _atlas()
    return np.asarray((fields > 0).mean((1, 2)), np.float64)


def area(scenes: Scenes) -> NDArray[np.float64]:
    """Return the share of the frame that each scene's whole main shape takes, (n,)."""
    main = scenes["layers"][:, MAIN]
    return np.asarray(_shares()[main["glyph"]] * main["size"] ** 2)


def draw(
    scenes: Scenes, size: int, windows: NDArray[np.float64] = WHOLE
) -> tuple[Pixels, Floats, Floats]:
    """Draw `scenes` through `windows` (n or 1 rows of centre x, centre y, half-width).

    Returns the images, uint8 (n, 3, size, size), and how much of each pixel is covered by the
    main layer and by any other shape, float32 (n, size, size) in [0, 1] each.
    """
    n = len(scenes)
    windows = np.broadcast_to(windows, (n, 3))
    steps = (np.arange(size) + 0.5) * (2 / size) - 1
    x = (windows[:, 0, None] + windows[:, 2, None] * steps).astype(np.float32)
    y = (windows[:, 1, None] + windows[:, 2, None] * steps).astype(np.float32)
    view = View(
        np.repeat(x[:, None, :], size, 1),
        np.repeat(y[:, :, None], size, 2),
        (windows[:, 2] * (2 / size)).astype(np.float32),
    )

    image = np.ones((n, 3, size, size), np.float32)
    main, others = np.zeros((2, n, size, size), np.float32)
    for index in range(scenes["layers"].shape[1]):
        layer = scenes["layers"][:, index]
        on = np.flatnonzero(layer["on"] & ~(scenes["sketch"] & (index == 0)))
        if not len(on):
            continue
        piece = image[on]
        cover = _paint(piece, layer[on], scenes["sketch"][on], view.rows(on))
        image[on] = piece
        if index == MAIN:
            main[on] = cover
            others[on] *= 1 - cover
        elif index > 0:
            others[on] = np.maximum(others[on], cover)

    light = scenes["light"].astype(np.float32)[:, :, None, None]
    fade = scenes["fade"].astype(np.float32)[:, None, None, None]
    image *= (1 + light[:, 0] * view.x + light[:, 1] * view.y)[:, None]
    image += fade * (np.float32(0.5) - image)
    for k, (row, column) in enumerate(scenes["grain"]):
        piece = _grain()[:, row : row + size, column : column + size]
        image[k] += np.float32(scenes["noise"][k]) * piece
    return (np.clip(image, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8), main, others
