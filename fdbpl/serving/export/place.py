"""Where an export goes, and the two files that each of them has: labels and pre-processing."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fdbpl.clip.preprocessing import TEST_VIEWS
from fdbpl.serving.model_folder import About
from fdbpl.serving.predictor import KEEP
from fdbpl.system.errors import UserError
from fdbpl.system.files import readable_json, whole_folder

LABELS, PREPROCESSING, README = "labels.json", "preprocessing.json", "README.md"
_SIGN = '"exported_by": "fdbpl"'


@contextmanager
def export_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes the place of an earlier export when it is whole.

    Raises:
        UserError: there is something else at `path`.
    """
    require_export_place(path)
    with whole_folder(path) as folder:
        yield folder


def require_export_place(path: Path) -> None:
    """Raise UserError when what is at `path` is no export, which another may replace."""
    if not path.exists() or _is_export(path):
        return
    if not path.is_dir() or any(os.scandir(path)):
        raise UserError(
            f"{path}: is there, and is no export of fdbpl. Name another folder, or remove this one."
        )


def _is_export(path: Path) -> bool:
    file = path / PREPROCESSING
    return file.is_file() and _SIGN in file.read_text(encoding="utf-8", errors="replace")


def write_labels(folder: Path, about: About) -> None:
    """Write the class names by label, and how a picture is prepared and an answer is read."""
    (folder / LABELS).write_bytes(readable_json(about.class_names))
    (folder / PREPROCESSING).write_bytes(readable_json(how_to_use(about)))


def how_to_use(about: About) -> dict[str, Any]:
    """Return what `preprocessing.json` holds: numbers for programs, and words for people."""
    thresholds = {str(kept): score for kept, score in sorted(about.thresholds.items())}
    return {
        "exported_by": "fdbpl",
        "name": about.name,
        **about.preprocessing,
        "temperature": about.temperature,
        "thresholds": thresholds,
        "how": [
            "Decode a picture as 8-bit RGB, upright as its EXIF says, transparency laid on white.",
            _resized(about.preprocessing),
            "Divide by 255, take off mean, divide by std: float32 (N, 3, image_size, image_size) "
            "in the order red, green, blue.",
            f"Probabilities, in the order of {LABELS}, are softmax(logits / temperature).",
            "score is log(sum(exp(logits))). A picture whose score is below "
            f"thresholds[{json.dumps(str(KEEP))}] shows none of the classes: {KEEP} of 100 "
            "pictures that do show one reach it. The other thresholds keep as many of 100 as their "
            "names say.",
        ],
    }


def _resized(preprocessing: dict[str, Any]) -> str:
    size, mode = preprocessing["image_size"], preprocessing["resize_mode"]
    by = f"{preprocessing['interpolation']} with antialiasing, as by Image.resize of Pillow"
    if mode == "squash":
        return f"{TEST_VIEWS[mode].capitalize()} to {size} x {size} pixels ({by})."
    return (
        f"Resize it ({by}): the shorter side to {size} pixels, the longer one to "
        f"int({size} * longer / shorter). Then cut out the square of {size} pixels in the centre, "
        "from round((side - image_size) / 2) on."
    )
