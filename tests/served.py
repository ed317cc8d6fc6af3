"""A model to serve in tests, and pictures to ask it about: classes are told by colour."""

import io
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from models import COLOURS, SIZE, tower, write_colours
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


@contextmanager
def serving(folder: Path, token: str = "") -> Iterator[str]:
    """Serve a model, written into `folder`, by the command line; give its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fdbpl", "serve", str(write_colours(folder)), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FDBPL_TOKEN": token},
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found
        wait_until(lambda: _answers(f"{found[0]}healthz"))
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url).close()
    except OSError:
        return False
    return True


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
