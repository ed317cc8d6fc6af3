"""A model to serve in tests, and pictures to ask it about: classes are told by colour."""

import io

import numpy as np
from models import COLOURS, SIZE, tower
from PIL import Image

from fdbpl.classify.decision import Decision
from fdbpl.clip.onnx_tower import OnnxTower
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.evaluation.calibration import KEPT, Calibration
from fdbpl.serving.predictor import Predictor


def colour_predictor(limit: float = -1e9) -> Predictor:
    """Return what tells pictures by their mean colour; known are scores from `limit` on."""
    return Predictor(
        tower=OnnxTower(tower(), threads=1),
        preprocessing=Preprocessing(SIZE, (0.0,) * 3, (1.0,) * 3, "bicubic", "squash"),
        decision=Decision(np.eye(3, dtype=np.float32), 10.0),
        class_names=COLOURS,
        calibration=Calibration(1.0, dict.fromkeys(KEPT, limit)),
    )


def png(colour: str, size: tuple[int, int] = (16, 12)) -> bytes:
    """Return a picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()
