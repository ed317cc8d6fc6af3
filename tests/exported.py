"""Models to export: every kind of decision over the small model's three colours."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from models import COLOURS, STUDENT, tower, write_colours
from PIL import Image

from fdbpl.classify.artifact import classifier_of
from fdbpl.classify.decision import Decision, Discriminant, KeyValueCache, Part, unit
from fdbpl.classify.projector import Projector
from fdbpl.serving.model_folder import CARD, CLASSIFIER, TOWER, ModelFolder, open_model, write_model

WIDTH = len(COLOURS)


def parts(seed: int = 0) -> dict[str, Part]:
    """One part of each kind and way."""
    random = np.random.default_rng(seed)

    def rows() -> np.ndarray:
        return (30 * random.standard_normal((WIDTH, WIDTH + 1))).astype(np.float32)

    every, some = np.ones(WIDTH, np.float32), np.array([1, 0, 1], np.float32)
    keys = unit(random.standard_normal((9, WIDTH)))
    labels = random.integers(0, WIDTH, 9).astype(np.float32)
    return {
        "silent": Discriminant(rows(), some, 0.7, "silent"),
        "speaks": Discriminant(rows(), every, 0.7, "silent"),
        "adds": Discriminant(rows() * some[:, None], some, 0.3, "adds"),
        "replaces": Discriminant(rows(), some, 1.5, "replaces"),
        "replaces_all": Discriminant(rows(), every, 1.0, "replaces"),
        "cache": KeyValueCache(keys, labels, 2.0, 5.5),
    }


def decisions() -> Mapping[str, Decision]:
    """Decisions by name: parts alone and in order, a projection, one with parts, a projector."""
    random = np.random.default_rng(7)
    vectors = unit(random.standard_normal((WIDTH, WIDTH)))
    projection = random.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    shapes = (WIDTH, 5), (5,), (5, WIDTH), (WIDTH,)
    projector = Projector(*(random.standard_normal(one).astype(np.float32) for one in shapes))
    plain = Decision(vectors, 20.0)
    alone = {name: Decision(vectors, 20.0, {name: part}) for name, part in parts().items()}
    backwards = dict(reversed(parts().items()))
    before = replace(parts()["adds"], before_projection=True)
    return {
        "plain": plain,
        **alone,
        "all": Decision(vectors, 20.0, parts()),
        "all_backwards": Decision(vectors, 20.0, backwards),
        "projected": Decision(vectors, 20.0, {}, projection, "hidden"),
        "projected_parts": Decision(vectors, 20.0, parts(), projection, "hidden"),
        "projector": Decision(vectors, 20.0, {}, sees="prompted", projector=projector),
        "before_projection": Decision(vectors, 20.0, {"bridge": before}, projection, "hidden"),
    }


def write_decided(path: Path, decision: Decision) -> ModelFolder:
    """Write the model of colours with another decision; open it."""
    about = open_model(write_colours(path)).about
    told = {"method": "zero_shot", "student": STUDENT, "class_names": list(COLOURS)}
    classifier = classifier_of(decision, told).data
    write_model(path, about, {TOWER: tower(), CLASSIFIER: classifier, CARD: b"# colours\n"})
    return open_model(path)


def draw_pictures(folder: Path, count: int, suffix: str = "png") -> Path:
    """Draw pictures of several sizes: colours that run into each other, and noise."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        width, height = (int(side) for side in random.integers(20, 90, 2))
        smooth = Image.fromarray(random.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        picture = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC), np.int64)
        noisy = picture + random.integers(-20, 21, picture.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{place:03}.{suffix}")
    return folder
