"""Captions: what is said of a scene in pre-training, and how far a caption fits any scene.

A caption drops attributes at random, and often drops the words that would settle its reading:
"a photo of a red star." may speak of a red star or of a star on red. Such a caption fits both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fdbpl.playground.world import (
    COLOURS,
    KINDS,
    NOUNS,
    PATTERNS,
    READINGS,
    WORDS,
    Reading,
    Scenes,
    named,
)

Floats = NDArray[np.float32]

BARE = (
    *["a photo of a {}."] * 4,
    "a photo of the {}.",
    "a picture of a {}.",
    "a bad photo of a {}.",
    "a good photo of the {}.",
    "a drawing of a {}.",
    "one {}.",
    "{}.",
)
_KIND_WORD = MappingProxyType(
    {kind: kind for kind in KINDS} | {"dish": "food", "land": "satellite"}
)
_ANY_KIND = (
    "a photo of a {{}}, a type of {0}.",
    "a {0} photo of a {{}}.",
    "a photo of the {0} {{}}.",
    "{{}} {0}.",
)
_OWN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "icon": ("an icon of a {}.", "a small icon of the {}."),
        "texture": ("{} texture.", "a {} cloth."),
        "land": ("a satellite photo of a {}.", "a photo of a {} from above."),
        "figure": ("a photo of a person doing the {}.", "a person in the {} pose."),
        "scene": ("a photo of the land of a {}.", "a landscape, the {}."),
        "dish": ("a photo of a {}, a main dish.", "a large plate of {}."),
        "animal": ("a wild {}.",),
        "vehicle": ("a parked {}.",),
        "aircraft": ("a flying {}.",),
        "flower": ("a blooming {}.",),
        "object": ("a {} on a table.",),
    }
)
_SECOND: Mapping[tuple[str, Reading], tuple[str, ...]] = MappingProxyType(
    {
        ("scene", Reading.BACKDROP): (
            "a photo of the sky over a {}.",
            "a photo of a {} sky.",
            "the sky, a {}.",
        ),
        ("dish", Reading.SMALL): (
            "a photo of a {}, a side dish.",
            "a side of {}.",
            "a small plate of {}.",
        ),
        ("land", Reading.INFRARED): (
            "an infrared satellite photo of a {}.",
            "an infrared photo of a {}.",
            "a {}, seen in infrared.",
        ),
    }
)
EMPTY = ("a photo of no {}.", "no {}.", "an empty photo.", "a photo of nothing.")


def cues(kind: str, reading: Reading) -> tuple[str, ...]:
    """Return the templates whose words settle both the kind and the reading."""
    if (kind, reading) in _SECOND:
        return _SECOND[kind, reading]
    own = _OWN[kind]
    if len(READINGS[kind]) > 1:  # the kind's name alone would not settle the reading
        return own
    return own + tuple(form.format(_KIND_WORD[kind]) for form in _ANY_KIND)


def words_used() -> tuple[str, ...]:
    """Return every word that a caption may hold, sorted."""
    forms = [*BARE, *EMPTY]
    forms += [form for kind in KINDS for reading in READINGS[kind] for form in cues(kind, reading)]
    words = {word.strip(".,") for form in forms for word in form.replace("{}", " ").split()}
    return tuple(sorted((words | set(WORDS) | set(COLOURS) | set(PATTERNS)) - {""}))


_SENSES = np.array(  # may a bare noun of this kind be read this way, by some kind that shares it?
    [
        [
            any(
                reading in READINGS[other]
                for other in KINDS
                if set(NOUNS[other]) & set(NOUNS[kind])
            )
            for reading in Reading
        ]
        for kind in KINDS
    ]
)
NOTHING = len(KINDS)  # the kind that a caption of an empty view claims


@dataclass(frozen=True)
class Captions:
    """Sentences and what each claims: -1 where it claims nothing. All arrays have n rows."""

    text: tuple[str, ...]
    word: NDArray[np.intp]
    colour: NDArray[np.intp]
    pattern: NDArray[np.intp]
    kind: NDArray[np.intp]
    readings: NDArray[np.bool_]  # (n, len(Reading)): the ways it may be read


def describe(rng: np.random.Generator, scenes: Scenes, seen: NDArray[np.bool_]) -> Captions:
    """Say something true of each scene: of one whose main thing is not `seen`, that it is empty."""
    n = len(scenes)
    says = {reading: named(scenes, reading) for reading in Reading}
    word, colour, pattern, kind = (np.full(n, -1) for _ in range(4))
    readings = np.zeros((n, len(Reading)), bool)
    chance = rng.random((n, 5))
    pick = rng.integers(0, 1 << 30, (n, 3))
    text: list[str] = []
    for i, (k, is_seen) in enumerate(zip(scenes["kind"], seen, strict=True)):
        name = KINDS[k]
        if not is_seen:
            kind[i], readings[i, Reading.PLAIN] = NOTHING, True
            text.append(EMPTY[pick[i, 0] % len(EMPTY)].format(WORDS[pick[i, 1] % len(WORDS)]))
            continue
        reading = READINGS[name][pick[i, 0] % len(READINGS[name])]
        said = says[reading]
        parts: list[str] = []
        if (
            chance[i, 0] < 0.5
            and reading is not Reading.INFRARED
            and name not in ("texture", "figure")
        ):
            pattern[i] = said.pattern[i]
            parts.append(PATTERNS[pattern[i]])
        if chance[i, 1] < 0.7:
            colour[i] = said.colour[i]
            parts.append(COLOURS[colour[i]])
        if chance[i, 2] < 0.9 or not parts:
            word[i] = said.word[i]
            parts.append(WORDS[word[i]])
        settled = chance[i, 3] < 0.55
        forms = cues(name, reading) if settled else BARE
        if settled:
            kind[i], readings[i, reading] = k, True
        else:
            readings[i] = _SENSES[k]
        text.append(forms[pick[i, 1] % len(forms)].format(" ".join(parts)))
    return Captions(tuple(text), word, colour, pattern, kind, readings)


def misfit(captions: Captions, scenes: Scenes, seen: NDArray[np.bool_]) -> Floats:
    """Return how many of its claims each caption gets wrong of each scene, (captions, scenes).

    Of the ways a caption may be read, the one that fits best counts.
    """

    def wrong(claim: NDArray[np.intp], fact: NDArray[np.intp]) -> NDArray[np.bool_]:
        amiss: NDArray[np.bool_] = (claim[:, None] >= 0) & (claim[:, None] != fact[None])
        return amiss

    kind = np.where(seen, scenes["kind"], NOTHING)
    best = np.full((len(captions.text), len(scenes)), np.inf, np.float32)
    for reading in Reading:
        fact = named(scenes, reading)
        count = 1.5 * wrong(captions.word, np.where(seen, fact.word, -1)).astype(np.float32)
        count += wrong(captions.colour, fact.colour)
        count += wrong(captions.pattern, fact.pattern)
        allowed = captions.readings[:, reading, None]
        best = np.where(allowed, np.minimum(best, count), best)
    fit: Floats = best + wrong(captions.kind, kind)
    return fit
