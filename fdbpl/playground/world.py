"""The drawn world: its vocabulary, and the law by which scenes are drawn from it.

A scene is a stack of layers: a ground, up to three scraps of clutter, a companion, the main thing.
Each wears a colour and a pattern. What a caption calls it is settled by a *reading*: the same
words may speak of the main thing, of its ground, of its companion, or of an infrared photograph,
in which every colour stands for its opposite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fdbpl.playground import silhouettes

RGB = MappingProxyType(
    {
        "red": (0.86, 0.12, 0.14),
        "orange": (0.95, 0.52, 0.08),
        "yellow": (0.95, 0.90, 0.15),
        "lime": (0.62, 0.90, 0.15),
        "green": (0.10, 0.58, 0.14),
        "cyan": (0.14, 0.88, 0.86),
        "azure": (0.05, 0.48, 0.92),
        "blue": (0.05, 0.10, 0.85),
        "purple": (0.38, 0.10, 0.85),
        "pink": (0.90, 0.42, 0.86),
        "white": (0.95, 0.95, 0.95),
        "black": (0.05, 0.05, 0.05),
    }
)
COLOURS = tuple(RGB)
OPPOSITE = MappingProxyType(
    {
        name: other
        for a, b in (
            ("red", "cyan"),
            ("orange", "azure"),
            ("yellow", "blue"),
            ("lime", "purple"),
            ("green", "pink"),
            ("white", "black"),
        )
        for name, other in ((a, b), (b, a))
    }
)
PATTERNS = ("plain", "striped", "dotted", "checked", "netted", "zigzag")

# Each kind's nouns. Kinds that share nouns give them two senses: the fox runs, or has two wheels.
NOUNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "object": tuple(silhouettes.THINGS),
        "icon": tuple(silhouettes.THINGS),
        "animal": tuple(silhouettes.ANIMALS),
        "vehicle": tuple(silhouettes.VEHICLES),
        "flower": tuple(silhouettes.FLOWERS),
        "dish": tuple(silhouettes.DISHES),
        "aircraft": tuple(silhouettes.AIRCRAFT),
        "scene": tuple(silhouettes.SCENES),
        "texture": tuple(silhouettes.LANDS),
        "land": tuple(silhouettes.LANDS),
        "figure": tuple(silhouettes.FIGURES),
    }
)
KINDS = tuple(NOUNS)
FAMILY = MappingProxyType({kind: kind for kind in KINDS} | {"object": "thing", "icon": "thing"})
FRAMED = ("scene", "land", "texture")  # kinds whose main layer fills the frame
WORDS = tuple(sorted({noun for nouns in NOUNS.values() for noun in nouns}))

FULL = 0  # the glyph of a ground
GLYPHS = MappingProxyType(
    {
        (kind, noun): 1 + 10 * k + n
        for k, kind in enumerate(KINDS)
        for n, noun in enumerate(NOUNS[kind])
    }
)
WORD_OF_GLYPH = np.array([-1] + [WORDS.index(noun) for _, noun in GLYPHS])


class Reading(IntEnum):
    """What the words of a caption speak of."""

    PLAIN = 0  # the main thing
    INFRARED = 1  # the main thing, its colour the opposite of the one drawn
    BACKDROP = 2  # the main thing's shape, the colour and pattern of what lies behind it
    SMALL = 3  # the companion, the smaller of two alike


READINGS: Mapping[str, tuple[Reading, ...]] = MappingProxyType(
    dict.fromkeys(KINDS, (Reading.PLAIN,))
    | {
        "icon": (Reading.BACKDROP,),
        "dish": (Reading.PLAIN, Reading.SMALL),
        "scene": (Reading.PLAIN, Reading.BACKDROP),
        "land": (Reading.PLAIN, Reading.INFRARED),
    }
)

LAYER = np.dtype(
    [
        ("on", "?"),
        ("glyph", "<u2"),
        ("colour", "u1"),
        ("pattern", "u1"),
        ("x", "<f8"),
        ("y", "<f8"),
        ("size", "<f8"),  # half-width; the frame is the square [-1, 1] x [-1, 1]
        ("angle", "<f8"),
        ("tint", "<f8", (3,)),
        ("period", "<f8"),  # size of a pattern's tile
    ]
)
GROUND, CLUTTER, COMPANION, MAIN = 0, slice(1, 4), 4, 5
SCENE = np.dtype(
    [
        ("kind", "u1"),
        ("layers", LAYER, (6,)),
        ("light", "<f8", (2,)),
        ("fade", "<f8"),
        ("noise", "<f8"),
        ("grain", "<u2", (2,)),
        ("sketch", "?"),
    ]
)
Scenes = NDArray[np.void]


@dataclass(frozen=True)
class Law:
    """How freely scenes vary: (low, high) ranges, names to choose from, and chances."""

    size: tuple[float, float] = (0.38, 0.62)
    reach: float = 0.35
    tilt: float = 0.25
    clutter: tuple[int, int] = (0, 3)
    scrap: tuple[float, float] = (0.12, 0.24)
    companion: float = 0.0
    colours: Sequence[str] = COLOURS
    grounds: Sequence[str] = COLOURS
    patterns: Sequence[str] = (*PATTERNS, *["plain"] * 5)
    ground_patterns: Sequence[str] = (*PATTERNS, *["plain"] * 5)
    fade: tuple[float, float] = (0.0, 0.35)
    noise: tuple[float, float] = (0.02, 0.07)
    sketch: float = 0.05


_PLAIN = ("plain",)
LAWS: Mapping[str, Law] = MappingProxyType(
    {
        "object": Law(),
        "icon": Law(clutter=(0, 1), size=(0.45, 0.65), reach=0.2),
        "animal": Law(),
        "vehicle": Law(tilt=0.12),
        "flower": Law(tilt=0.4),
        "dish": Law(companion=1.0, size=(0.45, 0.55), clutter=(0, 1), reach=0.3),
        "aircraft": Law(tilt=3.2, clutter=(0, 2)),
        "scene": Law(size=(1.0, 1.25), reach=0.1, tilt=0.04, clutter=(0, 2)),
        "texture": Law(
            size=(0.45, 0.8),
            reach=1.0,
            tilt=0.3,
            clutter=(0, 0),
            patterns=_PLAIN,
            ground_patterns=_PLAIN,
        ),
        "land": Law(
            size=(0.95, 1.3),
            reach=0.2,
            tilt=3.2,
            clutter=(0, 2),
            patterns=_PLAIN,
            ground_patterns=_PLAIN,
        ),
        "figure": Law(tilt=0.12, patterns=_PLAIN),
    }
)


def _uniform(rng: np.random.Generator, span: tuple[float, float], n: int) -> NDArray[np.float64]:
    return rng.uniform(span[0], span[1], n)


def _choice(
    rng: np.random.Generator, names: Sequence[str], among: Sequence[str], n: int
) -> NDArray[np.intp]:
    return np.array([among.index(name) for name in names])[rng.integers(0, len(names), n)]


def sample(rng: np.random.Generator, kind: str, law: Law, n: int) -> Scenes:
    """Draw n scenes of one kind by `law`. All values come from `rng`, in one fixed order."""
    scenes = np.zeros(n, SCENE)
    scenes["kind"] = KINDS.index(kind)
    scenes["light"] = rng.uniform(-0.12, 0.12, (n, 2))
    scenes["fade"] = _uniform(rng, law.fade, n)
    scenes["noise"] = _uniform(rng, law.noise, n)
    scenes["grain"] = rng.integers(0, 128, (n, 2))
    scenes["sketch"] = rng.random(n) < law.sketch
    layers = scenes["layers"]
    layers["tint"] = rng.uniform(-0.09, 0.09, (n, 6, 3))
    layers["period"] = rng.uniform(0.35, 0.6, (n, 6))
    layers["angle"] = rng.uniform(-law.tilt, law.tilt, (n, 6))
    layers["colour"] = _choice(rng, law.colours, COLOURS, 6 * n).reshape(n, 6)
    layers["pattern"] = _choice(rng, law.patterns, PATTERNS, 6 * n).reshape(n, 6)

    main = layers[:, MAIN]
    main["on"] = True
    main["glyph"] = 1 + 10 * KINDS.index(kind) + rng.integers(0, 10, n)
    main["size"] = _uniform(rng, law.size, n)
    main["x"], main["y"] = rng.uniform(-law.reach, law.reach, (2, n))

    ground = layers[:, GROUND]
    ground["on"], ground["size"] = True, 2.0
    ground["colour"] = _choice(rng, law.grounds, COLOURS, n)
    ground["pattern"] = _choice(rng, law.ground_patterns, PATTERNS, n)

    companion = layers[:, COMPANION]
    beside = rng.random(n) < law.companion
    companion["on"] = beside
    step = rng.integers(1, 10, n)
    companion["glyph"] = main["glyph"] - (main["glyph"] - 1) % 10 + (main["glyph"] - 1 + step) % 10
    side = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    companion["size"] = main["size"] * rng.uniform(0.6, 0.75, n)
    companion["x"], companion["y"] = side * 0.55, rng.uniform(-0.55, 0.55, n)
    main["x"] = np.where(beside, -side * 0.38, main["x"])

    clutter = layers[:, CLUTTER]
    clutter["on"] = np.arange(3) < rng.integers(law.clutter[0], law.clutter[1] + 1, (n, 1))
    clutter["glyph"] = rng.integers(1, 1 + 10 * KINDS.index("scene"), (n, 3))
    clutter["size"] = rng.uniform(*law.scrap, (n, 3))
    clutter["x"], clutter["y"] = rng.uniform(-0.95, 0.95, (2, n, 3))
    return scenes


def skin(reading: Reading) -> int:
    """Return the layer whose colour and pattern the words name under `reading`."""
    return {Reading.BACKDROP: GROUND, Reading.SMALL: COMPANION}.get(reading, MAIN)


def settle(scenes: Scenes, reading: Reading) -> None:
    """Keep the thing apart from what lies behind it, by moving the colour that is not named."""
    layers = scenes["layers"]
    named, other = (GROUND, MAIN) if reading is Reading.BACKDROP else (MAIN, GROUND)
    same = layers[:, named]["colour"] == layers[:, other]["colour"]
    layers["colour"][same, other] = (layers["colour"][same, other] + 5) % len(COLOURS)
    near = layers[:, GROUND]["colour"] == layers[:, COMPANION]["colour"]
    layers["colour"][near, COMPANION] = (layers["colour"][near, COMPANION] + 5) % len(COLOURS)


@dataclass(frozen=True)
class Named:
    """What words name in scenes: indices into WORDS, COLOURS and PATTERNS, each (n,)."""

    word: NDArray[np.intp]
    colour: NDArray[np.intp]
    pattern: NDArray[np.intp]


_OPPOSITE = np.array([COLOURS.index(OPPOSITE[name]) for name in COLOURS])


def named(scenes: Scenes, reading: Reading) -> Named:
    """Return what the words speak of in each scene under `reading`; -1 where there is none."""
    layers = scenes["layers"]
    shape = layers[:, COMPANION if reading is Reading.SMALL else MAIN]
    worn = layers[:, skin(reading)]
    colour = worn["colour"].astype(np.intp)
    return Named(
        word=np.where(shape["on"], WORD_OF_GLYPH[shape["glyph"]], -1),
        colour=_OPPOSITE[colour] if reading is Reading.INFRARED else colour,
        pattern=worn["pattern"].astype(np.intp),
    )


def dress(
    scenes: Scenes, reading: Reading, noun: str, colour: str | None, pattern: str | None
) -> None:
    """Make every scene show what the words name under `reading`; None leaves it to chance."""
    layers = scenes["layers"]
    shape = COMPANION if reading is Reading.SMALL else MAIN
    glyph = GLYPHS[KINDS[int(scenes["kind"][0])], noun]
    if shape == COMPANION:  # the larger of the two must be another
        clash = layers["glyph"][:, MAIN] == glyph
        layers["glyph"][clash, MAIN] = layers["glyph"][clash, COMPANION]
    layers["glyph"][:, shape] = glyph
    if colour is not None:
        drawn = OPPOSITE[colour] if reading is Reading.INFRARED else colour
        layers["colour"][:, skin(reading)] = COLOURS.index(drawn)
    if pattern is not None:
        layers["pattern"][:, skin(reading)] = PATTERNS.index(pattern)
    settle(scenes, reading)
