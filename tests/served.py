"""A model without a network, for tests of what stands around one: classes are told by colour."""

import io

import numpy as np
from PIL import Image

from fdbpl.classify.decision import Decision
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.evaluation.calibration import Calibration
from fdbpl.serving.predictor import Predictor

NAMES = ("red", "green", "blue")
SIZE = 8


def mean_colour(pixels: np.ndarray) -> np.ndarray:
    """Return the unit mean colours (n, 3) of pixels (n, 3, S, S)."""
    means = pixels.mean(axis=(2, 3)) + 1e-6
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def colour_predictor(limit: float = -1e9) -> Predictor:
    """Return what tells pictures by their mean colour; known are scores from `limit` on."""
    return Predictor(
        tower=mean_colour,  # type: ignore[arg-type]
        preprocessing=Preprocessing(SIZE, (0.0,) * 3, (1.0,) * 3, "bicubic", "shortest"),
        decision=Decision(np.eye(3, dtype=np.float32), 10.0),
        class_names=NAMES,
        calibration=Calibration(1.0, dict.fromkeys((90, 95, 99), limit)),
    )


def png(colour: str, size: tuple[int, int] = (16, 12)) -> bytes:
    """Return a picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()
