"""Weights for open_clip, and a script that decides by them as predict does, without fdbpl."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import decisions, draw_pictures
from models import COLOURS

from fdbpl.classify.artifact import classifier_of
from fdbpl.classify.decision import Decision, Discriminant, ImagePrompts, unit
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.onnx_export import export_tower
from fdbpl.clip.params import ModelParams
from fdbpl.clip.projection import last_projection, without_projection
from fdbpl.serving.export.check import pixels_of
from fdbpl.serving.export.linear import linear_of
from fdbpl.serving.export.open_clip_folder import export_open_clip, state_of
from fdbpl.serving.model_folder import (
    CLASSIFIER,
    TOWER,
    About,
    ModelFolder,
    open_model,
    write_model,
)
from fdbpl.serving.predictor import load_predictor
from fdbpl.system.errors import UserError

LOGITS = """
import json, runpy, sys
sys.modules["fdbpl"] = None
script, *paths = sys.argv[1:]
sys.argv = [script]
print(json.dumps(runpy.run_path(script)["logits"](paths).tolist()))
"""


def without_cache(decision: Decision) -> Decision:
    linear = {name: one for name, one in decision.parts.items() if isinstance(one, Discriminant)}
    return Decision(decision.vectors, decision.scale, linear, decision.projection, decision.sees)


@pytest.mark.parametrize("name", [name for name in decisions() if name != "cache"])
def test_weights_and_offsets_give_the_logits_of_linear_decisions(name: str) -> None:
    decision = without_cache(decisions()[name])
    features = unit(np.random.default_rng(2).standard_normal((30, 3)))
    linear = linear_of(decision)
    seen = features if decision.projection is None else unit(features @ decision.projection)
    judged = np.hstack([seen, features])[:, : linear.weights.shape[1]].astype(np.float64)
    found = judged @ linear.weights.T + linear.bias
    np.testing.assert_allclose(found, decision.logits(features, range(3)), rtol=0, atol=5e-5)


def test_a_decision_that_is_not_linear_is_refused() -> None:
    with pytest.raises(UserError, match=r"'cache', too, .* Take --to onnx"):
        linear_of(decisions()["all"])
    with pytest.raises(UserError, match=r"two layers, .* Take --to onnx"):
        linear_of(decisions()["projector"])


def test_image_prompts_are_no_weights(clip: ClipModel) -> None:
    prompts = ImagePrompts(np.zeros((1, 2, 32), np.float32))
    decision = Decision(np.eye(3, 32), sees="prompted", image_prompts=prompts)
    with pytest.raises(UserError, match=r"learned tokens, .* Take --to onnx"):
        state_of(clip, decision)


@pytest.mark.parametrize("sees", ["hidden", "student"])
def test_a_learned_projection_takes_the_place_of_the_students_own(
    sees: str, clip: ClipModel
) -> None:
    own = last_projection(clip)
    shape = own.shape if sees == "hidden" else (own.shape[1], own.shape[1])
    projection = torch.from_numpy(np.random.default_rng(6).standard_normal(shape)).float()
    decision = Decision(np.eye(3, own.shape[1]), 1.0, {}, projection.numpy(), sees)  # type: ignore[arg-type]
    network = copy.deepcopy(clip.network)
    network.load_state_dict(state_of(clip, decision))
    pixels = torch.randn(2, 3, clip.image_size, clip.image_size)
    with torch.inference_mode(), without_projection(clip):
        hidden = clip.network.visual(pixels)
        seen = hidden if sees == "hidden" else hidden @ own
        found = network.encode_image(pixels, normalize=True)
    wanted = torch.nn.functional.normalize(seen @ projection, dim=-1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def tiny_model(path: Path, decision: Decision, *, hidden: bool) -> ModelFolder:
    """Write a model of the tiny student."""
    clip = load_model(ModelParams(architecture="fdbpl-tiny-student", weights="tiny"), "student")
    about = {"method": "zero_shot", "student": dict(clip.identity), "class_names": list(COLOURS)}
    files = {
        TOWER: export_tower(clip, before_projection=hidden),
        CLASSIFIER: classifier_of(decision, about).data,
    }
    told = About(
        fdbpl="0",
        name="tiny",
        method="zero_shot",
        title="zero-shot",
        class_names=list(COLOURS),
        template="a {} picture.",
        student=dict(clip.identity),
        weights="tiny",
        teacher={},
        preprocessing=clip.preprocessing.spec(),
        temperature=1.0,
        thresholds={90: 9.0, 95: 8.0, 99: 7.0},
        made={},
        measured={},
    )
    write_model(path, told, files)
    return open_model(path)


def tiny_decision(*, hidden: bool, before: bool = False) -> Decision:
    random = np.random.default_rng(4)
    vectors = unit(random.standard_normal((3, 128)))
    if hidden:
        width = (
            load_model(ModelParams(architecture="fdbpl-tiny-student", weights="tiny"), "student")
            .network.state_dict()["visual.head.proj.weight"]
            .shape[1]
        )
        projection = random.standard_normal((width, 128)).astype(np.float32)
        rows = 20 * random.standard_normal((3, width + 1)).astype(np.float32)
        bridge = Discriminant(rows, np.ones(3, np.float32), 1.0, before_projection=True)
        parts = {"bridge": bridge} if before else {}
        return Decision(vectors, 20.0, parts, projection, "hidden")
    rows = random.standard_normal((3, 129)).astype(np.float32)
    probe = Discriminant(rows, np.ones(3, np.float32), 0.5, "adds")
    return Decision(vectors, 20.0, {"probe": probe})


@pytest.mark.slow
@pytest.mark.parametrize(("hidden", "before"), [(False, False), (True, False), (True, True)])
def test_the_script_decides_as_predict_does_without_fdbpl(
    hidden: bool, before: bool, tmp_path: Path
) -> None:
    decision = tiny_decision(hidden=hidden, before=before)
    model = tiny_model(tmp_path / "model", decision, hidden=hidden)
    lines = export_open_clip(model, tmp_path / "out")
    assert "of 64 random pictures the same likeliest class" in lines[0]
    paths = sorted(draw_pictures(tmp_path / "pictures", 12).iterdir())
    script = str(tmp_path / "out/classify.py")
    words = [sys.executable, "-I", "-c", LOGITS, script, *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = np.array(json.loads(done.stdout.splitlines()[-1]))
    predictor = load_predictor(tmp_path / "model")
    wanted = predictor.logits(pixels_of(predictor, paths))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).all()
    said = subprocess.run(
        [sys.executable, "-I", script, str(paths[0])], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith(f"{paths[0]}: {COLOURS[wanted[0].argmax()]} ")


@pytest.mark.slow
def test_another_student_is_refused(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", tiny_decision(hidden=False), hidden=False)
    other = ModelParams(architecture="fdbpl-tiny-teacher", weights="tiny")
    with pytest.raises(UserError, match="Give the same weights"):
        export_open_clip(model, tmp_path / "out", student=other)
    assert not (tmp_path / "out").exists()
