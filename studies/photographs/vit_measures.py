"""How good the students with a ViT are, beside the pair's student and their teacher."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fdbpl import api
from fdbpl.classify.decision import unit
from fdbpl.clip import small
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.params import ModelParams
from fdbpl.system.files import readable_json, write_whole
from studies.photographs.accuracies import Seen, base_of, by_template, seen
from studies.photographs.features import BATCH, Floats, encoded, features
from studies.photographs.parts import DATASETS, read_part
from studies.photographs.vit import params_of, text_students

Say = Callable[[str], None]
MEASURES = Path("vit", "measures.json")
TEACHER = small.PAIR[1]


def write_measures(photos: Path, out: Path, pair: Path, made: Mapping[str, Path], say: Say) -> Path:
    """Write OUT/vit/measures.json and return its path.

    Args:
        photos: where the tar files lie.
        out: holds all that is made.
        pair: weights of the pair's student.
        made: weights of students with a ViT, by what their text towers were told.
        say: told what was done.
    """
    path = out / MEASURES
    write_whole(path, readable_json(measures(photos, out, pair, made, say)))
    return path


def measures_in(out: Path) -> Mapping[str, Any] | None:
    """Return what `write_measures` wrote, or None where it was not measured."""
    path = out / MEASURES
    found: Mapping[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def measures(
    photos: Path, out: Path, pair: Path, made: Mapping[str, Path], say: Say
) -> dict[str, Any]:
    """Return what is measured of test pictures, by names under each dataset's template.

    Args are those of `write_measures`.

    Returns:
        `tower`: the ViT's shape. `teacher`: its accuracies by dataset. `students`: by what a text
        tower was told, the accuracies with the ViT before it, `vit`, and with the EfficientNet,
        `efficientnet`; and by dataset the mean cosine of both's features, `cosine`.
    """
    teacher = load_model(ModelParams(architecture=TEACHER, weights="small"), "teacher")
    clips = {told: load_model(params_of(weights), "student") for told, weights in made.items()}
    by_vit = _hidden(photos, next(iter(clips.values())))
    say("test pictures encoded by the ViT")
    by_efficientnet, by_teacher = (
        features(photos, "test", model, out / "features", say) for model in small.PAIR
    )
    students = {}
    for told, student in text_students(pair).items():
        vit = seen(photos, "test", clips[told], by_vit)
        before = seen(photos, "test", student, by_efficientnet)
        students[told] = {
            "vit": cells(clips[told], vit),
            "efficientnet": cells(student, before),
            "cosine": {name: cosine(one, before[name]) for name, one in vit.items()},
        }
    return {
        "tower": small.config(small.VIT)["vision_cfg"],
        "teacher": cells(teacher, seen(photos, "test", teacher, by_teacher)),
        "students": students,
    }


def cells(clip: ClipModel, found: Mapping[str, Seen]) -> dict[str, Any]:
    """Return accuracies by dataset, as compare.json has them of a method."""
    return {name: cell(clip, one) for name, one in found.items()}


def cosine(one: Seen, other: Seen) -> float:
    """Return the mean cosine of two models' features of the same pictures."""
    return float((one.features * other.features).sum(1).mean())


def cell(clip: ClipModel, one: Seen) -> dict[str, Any]:
    """Return a dataset's accuracies by names: each half by itself, and where all compete."""
    decision, every, base = by_template(clip, one), range(len(one.names)), base_of(one)
    halves = {"base": base, "new": tuple(label for label in every if label not in base)}
    shown = one.features, one.labels, decision
    return {
        **{half: api.accuracy(*shown, labels) for half, labels in halves.items()},
        "joint": {half: api.accuracy(*shown, every, labels) for half, labels in halves.items()},
    }


def _hidden(photos: Path, clip: ClipModel) -> dict[str, Floats]:
    """Return the unit features (n, W) of test pictures before the ViT's projection."""
    tower = ImageEncoder(clip, precision="fp32", batch_size=BATCH, before_projection=True)
    return {
        dataset: unit(encoded(tower, list(read_part(photos, dataset, "test"))).astype(np.float32))
        for dataset in DATASETS
    }
