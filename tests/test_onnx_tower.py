"""Image towers as ONNX graphs: torch's features, the same bytes for the same weights."""

import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeModel
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.clip import onnx_export
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.onnx_export import export_tower
from fdbpl.clip.onnx_tower import OnnxTower
from fdbpl.clip.params import ModelParams
from fdbpl.clip.projection import last_projection, without_projection
from fdbpl.playground import tiny
from fdbpl.system.errors import UserError
from fdbpl.system.kept import PLACE

PROJECT = Path(__file__).resolve().parents[1]
STUDENT, TEACHER = tiny.MODELS
VIT = "random ViT"
KINDS = (VIT, STUDENT, pytest.param(TEACHER, marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, make_model: MakeModel) -> ClipModel:
    if request.param == VIT:
        return make_model()
    return load_model(ModelParams(architecture=request.param, weights="tiny"), "student")


@pytest.fixture(scope="module")
def tower(model: ClipModel) -> OnnxTower:
    return OnnxTower(export_tower(model), threads=1)


def noise(model: ClipModel, count: int, seed: int = 0) -> np.ndarray:
    shape = (count, 3, model.image_size, model.image_size)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_torch(model: ClipModel, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found = model.network.get_submodule("visual")(torch.from_numpy(pixels))
    return torch.nn.functional.normalize(found, dim=-1).numpy()


@settings(max_examples=8)
@given(count=st.integers(1, 9), seed=st.integers(0, 99))
def test_features_are_torchs(model: ClipModel, tower: OnnxTower, count: int, seed: int) -> None:
    pixels = noise(model, count, seed)
    found = tower(pixels)
    assert found.dtype == np.float32
    assert found.shape == (count, tower.width)
    assert np.abs(found - by_torch(model, pixels)).max() < 1e-5
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_no_feature_depends_on_its_neighbours(model: ClipModel, tower: OnnxTower) -> None:
    pixels = noise(model, 7)
    whole = tower(pixels)
    order = np.random.default_rng(1).permutation(7)
    assert np.abs(tower(pixels[order]) - whole[order]).max() < 1e-5
    for row in range(7):
        assert np.abs(tower(pixels[row : row + 1]) - whole[row]).max() < 1e-5


def test_an_empty_batch_has_no_features(model: ClipModel, tower: OnnxTower) -> None:
    assert tower(noise(model, 0)).shape == (0, tower.width)


def test_a_tower_knows_its_sizes(model: ClipModel, tower: OnnxTower) -> None:
    assert tower.image_size == model.image_size
    assert tower.width == by_torch(model, noise(model, 1)).shape[1]


def test_how_many_threads_share_a_batch_changes_nothing_to_speak_of(model, tower) -> None:
    pixels = noise(model, 5)
    assert np.abs(OnnxTower(export_tower(model), threads=2)(pixels) - tower(pixels)).max() < 1e-5


def test_features_before_the_projection(make_model: MakeModel) -> None:
    model = make_model()
    tower = OnnxTower(export_tower(model, before_projection=True))
    pixels = noise(model, 3)
    with without_projection(model):
        wanted = by_torch(model, pixels)
    assert tower.width == len(last_projection(model))
    assert np.abs(tower(pixels) - wanted).max() < 1e-5
    seen = wanted @ last_projection(model).detach().numpy()
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    assert np.abs(by_torch(model, pixels) - seen).max() < 1e-5  # the model is as it was


def test_equal_weights_give_equal_bytes_and_others_do_not(
    clip: ClipModel, tmp_path, monkeypatch
) -> None:
    first = export_tower(clip)
    same, other = (replace(clip, network=deepcopy(clip.network)) for _ in range(2))
    assert export_tower(same) == first
    monkeypatch.setenv(PLACE, str(tmp_path))  # where nothing is kept yet
    assert export_tower(same) == first
    with torch.no_grad():
        next(other.network.get_submodule("visual").parameters()).add_(1e-3)
    assert export_tower(other) != first


ELSEWHERE = """
import sys
from fdbpl.clip.model import load_model
from fdbpl.clip.onnx_export import export_tower
from fdbpl.clip.params import ModelParams
model = load_model(ModelParams(architecture=sys.argv[1], weights="tiny"), "student")
sys.stdout.buffer.write(export_tower(model))
"""


@pytest.mark.slow
def test_another_process_in_another_place_writes_the_same_bytes(tmp_path: Path) -> None:
    model = load_model(ModelParams(architecture=STUDENT, weights="tiny"), "student")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, STUDENT],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "7"},
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == export_tower(model)
    assert done.stderr == b""


def test_no_path_of_the_machine_is_in_the_bytes(model: ClipModel) -> None:
    graph = export_tower(model)
    for place in (PROJECT, Path(torch.__file__).parents[1]):
        assert str(place).encode() not in graph
    for word in (b"site-packages", b".py", b"stack_trace", b"/home/"):
        assert word not in graph, word


def test_a_tower_too_large_for_a_graph_is_refused(
    clip: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(clip, identity={**clip.identity, "weights": "others"})
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    with pytest.raises(UserError, match=r"bytes, wanted at most 1,000 .* Take a smaller student"):
        export_tower(model)


class Counting(torch.nn.Module):
    """What no graph can express: it looks at the numbers that it is given."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)[:, : 2 + int(float(pixels.sum()) > 0)]


def test_a_tower_that_is_no_graph_is_refused_in_one_line(clip: ClipModel) -> None:
    network = torch.nn.Module()
    network.visual = Counting()
    with pytest.raises(UserError, match="cannot be written as an ONNX graph") as told:
        export_tower(replace(clip, network=network))
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(clip.identity["architecture"])


def test_bytes_that_are_no_graph_are_refused(model: ClipModel) -> None:
    for data in (b"", b"no graph", export_tower(model)[:1000]):
        with pytest.raises(Exception, match=r".+"):
            OnnxTower(data)
