"""Drawn pictures of a few classes, and what is learned from them with the tiny pair."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fdbpl.clip.params import ModelParams
from fdbpl.learning.learn import Outcome, learn_pictures
from fdbpl.learning.model import made_of, save
from fdbpl.learning.request import Request
from fdbpl.playground import datasets, drawing, tiny
from fdbpl.serving.make import Made
from fdbpl.system.workspace import Workspace

STUDENT, TEACHER = (ModelParams(architecture=name, weights="tiny") for name in tiny.MODELS)
EACH = 8
NAMES = ("black arrow", "black bolt", "blue crown", "pink moon", "white drop", "yellow heart")
TINY = ("--student", f"{STUDENT.architecture}:tiny", "--teacher", f"{TEACHER.architecture}:tiny",
        "--crops", "1", "--device", "cpu")  # fmt: skip


def drawings(class_name: str, count: int = EACH) -> list[np.ndarray]:
    """Draw pictures of one class of the playground's objects."""
    drawn = datasets.definition("objects")
    label = [one.name for one in drawn.sorted_classes].index(class_name)
    places = [label + len(drawn.classes) * turn for turn in range(count)]
    scenes = np.concatenate([datasets.scene(drawn, "train", place) for place in places])
    return list(drawing.draw(scenes, datasets.SIZE)[0].transpose(0, 2, 3, 1))


def draw_classes(folder: Path, names: tuple[str, ...] = NAMES, count: int = EACH) -> Path:
    """Fill a folder with a folder of pictures for each class."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(drawings(name, count)):
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png", compress_level=1)
    return folder


@dataclass(frozen=True)
class Taught:
    """What was learned, from what, and the folder of the model."""

    request: Request
    outcome: Outcome
    made: Made
    path: Path


Learn = Callable[..., Taught]


def learn(pictures: Path, root: Path, **changes: Any) -> Taught:
    """Learn by the tiny pair with one region of each picture; all files are below `root`."""
    given = {"student": STUDENT, "teacher": TEACHER, "crops": 1, "device": "cpu"}
    request = Request(pictures, **{**given, "store": str(root / "store"), **changes})
    outcome = learn_pictures(request, Workspace(root / "work"))
    return Taught(request, outcome, made_of("shapes", request, outcome), root / "shapes")


@pytest.fixture(scope="session")
def class_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of eight drawn pictures each."""
    return draw_classes(tmp_path_factory.mktemp("drawn") / "pictures")


@pytest.fixture(scope="session")
def taught(class_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """What the default methods learn from them, written as a model."""
    found = learn(class_pictures, tmp_path_factory.mktemp("taught"))
    save(found.path, found.made)
    return found
