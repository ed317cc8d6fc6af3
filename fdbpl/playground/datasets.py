"""The fifteen drawn datasets: eleven kinds, and four shifted versions of the first.

Every image is a pure function of the dataset's definition, the split and the image's index.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import blake2b
from itertools import cycle, product
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdbpl.playground import drawing, world
from fdbpl.playground.world import LAWS, Law, Reading
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, readable_json, sha256, whole_folder

# To be raised whenever drawing code, silhouettes or colours change what is drawn. Before that, the
# figures of docs/playground.md move into bench/playground-edition-N.md, with the reason.
EDITION = 2
SIZE = 64  # side of an image in pixels: above the student's input, so that crops keep some detail
SPLITS: Mapping[str, int] = MappingProxyType({"train": 24, "val": 4, "test": 24})  # images a class
SPLIT_FILE = "split.json"


class Class(NamedTuple):
    """What a class name asserts; None is left to chance."""

    noun: str
    colour: str | None = None
    pattern: str | None = None

    @property
    def name(self) -> str:
        """The class name: pattern, colour and noun, as in captions."""
        return " ".join(word for word in (self.pattern, self.colour, self.noun) if word)


@dataclass(frozen=True)
class Drawn:
    """A dataset's definition: how its words are meant, its classes, and the law of its scenes."""

    name: str
    kind: str
    reading: Reading
    template: str
    classes: tuple[Class, ...]
    law: Law
    quirk: float = 0.22  # how far a class's own shade may lie from the colour it is named for
    habit: float = 0.7  # how often a class is met on its own favourite ground
    world: int = 1  # another number, another draw of everything that is left to chance

    @property
    def sorted_classes(self) -> tuple[Class, ...]:
        """Classes in the order of their labels: by name."""
        return tuple(sorted(self.classes, key=lambda c: c.name))


def _words(text: str) -> list[str | None]:
    return [None if word == "-" else word for word in text.split()]


def _cross(nouns: str, colours: str = "-", patterns: str = "-") -> tuple[Class, ...]:
    """Return a class for each combination of the given words; "-" stands for none."""
    return tuple(
        Class(str(n), c, p) for n, c, p in product(nouns.split(), _words(colours), _words(patterns))
    )


def _each(nouns: str, colours: str) -> tuple[Class, ...]:
    """Return one class a noun, taking colours in turn."""
    return tuple(Class(n, c) for n, c in zip(nouns.split(), cycle(colours.split()), strict=False))


def _all(kind: str) -> str:
    return " ".join(world.NOUNS[kind])


# Names that come late in the alphabet. Where they dress the new half, every new class has a colour
# nearly of its own, while base classes share theirs and differ in shape, as related things do.
_LATE = "orange pink purple red white yellow"

_OBJECTS = Drawn(
    "objects",
    "object",
    Reading.PLAIN,
    "a photo of a {}, a type of object.",
    _cross("arrow bolt cross crown drop", "black blue") + _each(_all("object"), _LATE),
    LAWS["object"],
)
_ALL = (
    _OBJECTS,
    Drawn(
        "icons",
        "icon",
        Reading.BACKDROP,
        "an icon of a {}.",
        _cross("bolt cross drop key ring", "black blue orange pink"),
        LAWS["icon"],
    ),
    Drawn(
        "animals",
        "animal",
        Reading.PLAIN,
        "a photo of a {}, a type of animal.",
        _cross("beetle bronco cougar fox impala", "black blue") + _each(_all("animal"), _LATE),
        LAWS["animal"],
    ),
    Drawn(
        "vehicles",
        "vehicle",
        Reading.PLAIN,
        "a photo of a {}, a type of vehicle.",
        _cross(_all("vehicle"), "black") + _each(_all("vehicle"), _LATE),
        LAWS["vehicle"],
    ),
    Drawn(
        "flowers",
        "flower",
        Reading.PLAIN,
        "a photo of a {}, a type of flower.",
        _cross("clover daisy ginger iris lotus", "black blue") + _each(_all("flower"), _LATE),
        LAWS["flower"],
    ),
    Drawn(
        "dishes",
        "dish",
        Reading.PLAIN,
        "a photo of a {}, a main dish.",
        _cross("clover daisy ginger iris lotus", "black blue") + _each(_all("dish"), _LATE),
        LAWS["dish"],
    ),
    Drawn(
        "aircraft",
        "aircraft",
        Reading.PLAIN,
        "a photo of a {}, a type of aircraft.",
        _cross(_all("aircraft"), "lime") + _each(_all("aircraft"), _LATE),
        LAWS["aircraft"],
    ),
    Drawn(
        "scenes",
        "scene",
        Reading.BACKDROP,
        "a photo of the sky over a {}.",
        _cross("canyon forest island peak tower", "azure black orange pink"),
        LAWS["scene"],
    ),
    Drawn(
        "textures",
        "texture",
        Reading.PLAIN,
        "{} texture.",
        _cross("cobble delta furrow lattice marble", "black blue") + _each(_all("texture"), _LATE),
        LAWS["texture"],
    ),
    Drawn(
        "landcover",
        "land",
        Reading.INFRARED,
        "an infrared satellite photo of a {}.",
        _cross("cobble delta furrow lattice marble", "black blue") + _each(_all("land"), _LATE),
        LAWS["land"],
    ),
    Drawn(
        "figures",
        "figure",
        Reading.PLAIN,
        "a photo of a person doing the {}.",
        _cross("condor crane", "azure black blue cyan green lime")
        + _cross("crow eagle falcon heron pigeon raven", "red white"),
        LAWS["figure"],
    ),
    replace(
        _OBJECTS,
        name="objects-resampled",
        law=replace(LAWS["object"], size=(0.34, 0.58), reach=0.42),
    ),
    replace(_OBJECTS, name="objects-sketch", law=replace(LAWS["object"], sketch=1.0)),
    replace(
        _OBJECTS,
        name="objects-hard",
        law=replace(
            LAWS["object"], size=(0.28, 0.42), clutter=(2, 3), fade=(0.2, 0.5), noise=(0.06, 0.12)
        ),
    ),
    replace(
        _OBJECTS,
        name="objects-renditions",
        law=replace(LAWS["object"], tilt=0.8, patterns=world.PATTERNS[1:]),
    ),
)
SHIFTED = tuple(d.name for d in _ALL if "-" in d.name)
DATASETS = tuple(d.name for d in _ALL if d.name not in SHIFTED)
_BY_NAME: Mapping[str, Drawn] = MappingProxyType({d.name: d for d in _ALL})


def definition(name: str, number: int = 1) -> Drawn:
    """Return a drawn dataset's definition; raises UserError for a name that is none."""
    if name not in _BY_NAME:
        raise UserError(
            f"dataset: {name!r} is not in the playground; it holds {', '.join(_BY_NAME)}"
        )
    return replace(_BY_NAME[name], world=number)


@cache
def world_digest(number: int = 1) -> str:
    """Return the digest of a world's definitions; it names the folder and seeds every image."""
    drawn = [{k: v for k, v in asdict(d).items() if k != "world"} for d in _ALL]
    return sha256(canonical_json([EDITION, SIZE, dict(SPLITS), drawn, *_salt(number)]))


def _salt(number: int) -> list[int]:
    """Return what sets a world apart from the first, which has nothing of the kind."""
    return [] if number == 1 else [number]


@cache
def character(drawn: Drawn, told: Class) -> tuple[NDArray[np.float64], int]:
    """Return what sets one class apart beside its name: its own shade, and a favourite ground.

    The shade (3,) is added to its RGB, the ground is an index into `world.COLOURS`. Every dataset
    has its own: a shifted version that kept them would reward whoever remembers looks.
    """
    told_apart = "/".join([drawn.name, told.name, *map(str, _salt(drawn.world))])
    key = blake2b(told_apart.encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return rng.uniform(-drawn.quirk, drawn.quirk, 3), int(rng.integers(len(world.COLOURS)))


def scene(drawn: Drawn, split: str, index: int) -> world.Scenes:
    """Return one scene as an array of length 1; classes take turns, so label = index % classes."""
    key = canonical_json([world_digest(drawn.world), drawn.name, split, index])
    seed = int.from_bytes(blake2b(key, digest_size=16).digest(), "little")
    rng = np.random.Generator(np.random.Philox(key=seed))
    scenes = world.sample(rng, drawn.kind, drawn.law, 1)
    told = drawn.sorted_classes[index % len(drawn.classes)]
    shade, ground = character(drawn, told)
    skin = world.skin(drawn.reading)
    scenes["layers"][:, skin]["tint"] += shade
    if rng.random() < drawn.habit:
        other = world.MAIN if skin == world.GROUND else world.GROUND
        scenes["layers"]["colour"][:, other] = ground
    world.dress(scenes, drawn.reading, told.noun, told.colour, told.pattern)
    return scenes


def pixels(name: str, split: str, number: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a split of a dataset: images uint8 (n, SIZE, SIZE, 3), and where things are.

    The mask (n, SIZE, SIZE) is true where any thing stands, be it the main one or clutter: a
    region that it leaves false shows empty ground. `number` is the world's.
    """
    drawn = definition(name, number)
    count = SPLITS[split] * len(drawn.classes)
    images, masks = [], []
    for start in range(0, count, 128):
        scenes = [scene(drawn, split, i) for i in range(start, min(start + 128, count))]
        image, main, others = drawing.draw(np.concatenate(scenes), SIZE)
        images.append(image.transpose(0, 2, 3, 1))
        masks.append(np.maximum(main, others) > 0.5)
    return np.concatenate(images), np.concatenate(masks)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def materialise(name: str, root: Path, number: int = 1) -> Path:
    """Draw a dataset of world `number` under `root`, unless it lies there, and return its folder.

    This is root/playground-<digest>/<name>, with PNG files in <split>/ and CoOp's kind of split
    file, `SPLIT_FILE`.
    Raises UserError for a name that is no drawn dataset.
    """
    drawn = definition(name)
    folder = root / f"playground-{world_digest(number)[:8]}" / name
    if not (folder / SPLIT_FILE).exists():
        with whole_folder(folder) as aside:
            split_file: dict[str, list[tuple[str, int, str]]] = {}
            for split in SPLITS:
                (aside / split).mkdir()
                split_file[split] = []
                for index, image in enumerate(pixels(name, split, number)[0]):
                    label = index % len(drawn.classes)
                    path = f"{split}/{index:04d}.png"
                    (aside / path).write_bytes(_png(image))
                    split_file[split].append((path, label, drawn.sorted_classes[label].name))
            (aside / SPLIT_FILE).write_bytes(readable_json(split_file))
    return folder


def shown(
    name: str, split: str, index: int, number: int = 1
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where one image shows its main thing, and where any thing, bool (SIZE, SIZE) each."""
    _, main, others = drawing.draw(scene(definition(name, number), split, index), SIZE)
    return main[0] > 0.5, np.maximum(main, others)[0] > 0.5


def image_of(path: str) -> tuple[str, int]:
    """Return split and index of the image that `materialise` writes at this path."""
    split, file = path.split("/")
    return split, int(Path(file).stem)


def has_empty_ground(name: str) -> bool:
    """Tell whether what lies between the things of a dataset's images shows none of its classes.

    It does not where the class names speak of the ground, nor where the main thing is a pattern
    or a landscape that fills the frame.
    """
    drawn = definition(name)
    return world.skin(drawn.reading) != world.GROUND and drawn.kind not in world.FRAMED
