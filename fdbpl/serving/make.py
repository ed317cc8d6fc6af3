"""Making a model of what was learned: its tower as a graph, what decides, and how sure it is."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fdbpl
from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Decision
from fdbpl.clip.model import ClipModel
from fdbpl.clip.onnx_export import export_tower
from fdbpl.clip.onnx_tower import OnnxTower
from fdbpl.clip.plain_prompted import PlainPrompted
from fdbpl.clip.projection import without_projection
from fdbpl.evaluation.calibration import Calibration
from fdbpl.methods.method import Method
from fdbpl.serving.model_folder import CLASSIFIER, LEARNED, PROMPTS, TOWER, About, write_model
from fdbpl.serving.predictor import Predictor
from fdbpl.system.errors import UserError

CLOSE = 1e-4
"""By how much logits of the graph may differ from torch's."""
TRIED = 8


@dataclass(frozen=True)
class Made:
    """A model before it is a folder.

    Attributes:
        name: of the model.
        method: by which it was learned.
        clip: the student.
        teacher: architecture and weights, as records say them.
        classifier: what decides.
        decision: the same.
        prompts: what was learned, for other class names; None where there is nothing.
        calibration: of the decision's logits.
        made: how it was learned.
        measured: what was measured on held-out images.
        learned: digests of the pictures that it was learned from, as a plan has them; None where
            they are not known.
    """

    name: str
    method: Method
    clip: ClipModel
    teacher: Mapping[str, str]
    classifier: Artifact
    decision: Decision
    prompts: Artifact | None
    calibration: Calibration
    made: Mapping[str, Any]
    measured: Mapping[str, Any]
    learned: Sequence[bytes] | None = None

    @property
    def about(self) -> About:
        """What `model.json` says."""
        return About(
            fdbpl=fdbpl.__version__,
            name=self.name,
            method=self.method.name,
            title=self.method.title,
            class_names=list(self.classifier.about["class_names"]),
            template=self.classifier.about["template"],
            student=dict(self.clip.identity),
            weights=self.clip.source,
            teacher=dict(self.teacher),
            preprocessing=self.clip.preprocessing.spec(),
            temperature=self.calibration.temperature,
            thresholds=dict(self.calibration.thresholds),
            made=dict(self.made),
            measured=dict(self.measured),
        )


def predictor_of_made(model: Made) -> Predictor:
    """Return what predicts by a model that is no folder yet."""
    return _predictor(model, _tower(model))


def _tower(model: Made) -> bytes:
    """Return the image tower as its decision sees by it, as a graph."""
    decision = model.decision
    return export_tower(
        model.clip,
        before_projection=decision.sees == "hidden",
        prompts=decision.image_prompts,
    )


def _predictor(model: Made, graph: bytes) -> Predictor:
    return Predictor(
        tower=OnnxTower(graph, threads=1),
        preprocessing=model.clip.preprocessing,
        decision=model.decision,
        class_names=tuple(model.classifier.about["class_names"]),
        calibration=model.calibration,
    )


def save_model(path: Path, model: Made, card: Mapping[str, bytes]) -> int:
    """Write a model with its card; return its size in bytes.

    Raises:
        UserError: there is something else at `path`, or the student's image tower cannot be
            written as a graph that gives the same logits.
    """
    graph = _tower(model)
    _require_equal(model, graph)
    files = {TOWER: graph, CLASSIFIER: model.classifier.data, **card}
    if model.prompts is not None:
        files[PROMPTS] = model.prompts.data
    if model.learned is not None:
        files[LEARNED] = "".join(f"{one.hex()}\n" for one in sorted(model.learned)).encode()
    write_model(path, model.about, files)
    return sum(map(len, files.values()))


def _require_equal(model: Made, graph: bytes) -> None:
    """Refuse a tower whose logits as a graph differ from torch's, in a batch or one by one."""
    size = model.clip.image_size
    pixels = np.random.default_rng(0).standard_normal((TRIED, 3, size, size)).astype(np.float32)
    plain: torch.nn.Module = model.clip.network.get_submodule("visual").cpu()
    if model.decision.image_prompts is not None:
        plain = PlainPrompted(plain, model.decision.image_prompts)
    hidden = model.decision.sees == "hidden"
    with without_projection(model.clip) if hidden else nullcontext(), torch.inference_mode():
        seen = torch.nn.functional.normalize(plain(torch.from_numpy(pixels)), dim=-1).numpy()
    predictor = _predictor(model, graph)
    wanted = model.decision.logits(seen, range(len(predictor.class_names)))
    one_by_one = [predictor.logits(pixels[row : row + 1]) for row in range(TRIED)]
    for found in (predictor.logits(pixels), np.concatenate(one_by_one)):
        difference = float(np.abs(found - wanted).max())
        if not difference <= CLOSE:
            raise UserError(
                f"{model.clip.identity['architecture']}: its image tower as an ONNX graph gives "
                f"logits that differ by {difference:.1e}, wanted at most {CLOSE:.0e}. Take another "
                "student, and report this."
            )
