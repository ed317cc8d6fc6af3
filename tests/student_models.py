"""A model of the small random student, and its folder, for what predicts by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fdbpl.classify.artifact import classifier_of
from fdbpl.classify.decision import Decision
from fdbpl.clip.model import ClipModel
from fdbpl.clip.vectors import template_vectors
from fdbpl.evaluation.calibration import Calibration
from fdbpl.methods.registry import METHODS
from fdbpl.serving.make import Made, save_model
from fdbpl.serving.model_folder import About

NAMES = ("Crème brûlée", "T-shirt", "a, b", 'say "cheese"', "owl")
TEMPLATE = "a photo of a {}."
LIMITS = {90: 30.0, 95: 20.0, 99: -99.0}


def zero_shot(clip: ClipModel, names: tuple[str, ...] = NAMES, **changes: Any) -> Made:
    """Return a zero-shot classifier as a model."""
    decision = Decision(template_vectors(clip, names, TEMPLATE), clip.logit_scale)
    about = {
        "method": "zero_shot",
        "options": {},
        "student": dict(clip.identity),
        "class_names": list(names),
        "learned_classes": [],
        "template": TEMPLATE,
    }
    made = {
        "name": "model",
        "method": METHODS["zero_shot"],
        "clip": clip,
        "teacher": {"architecture": "large", "weights": "tiny"},
        "classifier": classifier_of(decision, about),
        "decision": decision,
        "prompts": None,
        "calibration": Calibration(1.5, LIMITS),
        "made": {},
        "measured": {},
    }
    return Made(**{**made, **changes})


def about(**changes: Any) -> About:
    """Return what a model may say of itself."""
    told = {
        "fdbpl": "1.0",
        "name": "birds é",
        "method": "zero_shot",
        "title": "zero-shot",
        "class_names": ["owl", "T-shirt"],
        "template": TEMPLATE,
        "student": {"architecture": "small", "weights": "0" * 8},
        "weights": "small",
        "teacher": {"architecture": "large", "weights": "small"},
        "preprocessing": {"image_size": 32, "mean": [0.1, 0.2, 0.3]},
        "temperature": 1.2345,
        "thresholds": {90: 7.25, 95: 6.5, 99: -1.0},
        "made": {"pictures": 12, "shots": "all"},
        "measured": {"accuracy": 72.222, "kept": {"95": 91.5}},
    }
    return About(**{**told, **changes})


@pytest.fixture(scope="session")
def made_model(clip: ClipModel) -> Made:
    """A zero-shot classifier of the small random student."""
    return zero_shot(clip)


@pytest.fixture(scope="session")
def model_path(made_model: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `made_model`."""
    path = tmp_path_factory.mktemp("models") / "model"
    save_model(path, made_model, {"README.md": b"# model\n"})
    return path


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of many kinds, all of which can be read, named so that 20 are in order."""
    folder = tmp_path_factory.mktemp("shots")
    rng = np.random.default_rng(0)
    for number in range(20):
        shape = tuple(rng.integers(8, 70, 2))
        pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
        mode = ("RGB", "L", "CMYK", "P", "RGBA")[number % 5]
        suffix = "tif" if mode == "CMYK" else "png"
        Image.fromarray(pixels).convert(mode).save(folder / f"{number:02}.{suffix}")
    deep = rng.integers(0, 2**16, (30, 40), np.uint16)
    Image.fromarray(deep).save(folder / "20.png")
    return folder
