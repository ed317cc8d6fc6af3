"""The small student that takes prompt tokens: its own image tower, the other student's texts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_pipeline import CLASSES, small_params

from fdbpl.clip import small
from fdbpl.clip.model import ClipModel, load_model, state_digest
from fdbpl.clip.params import ModelParams
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.clip.vectors import template_vectors
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.stages.evaluated import read_record
from fdbpl.system.workspace import Workspace

FROZEN = Path(__file__).resolve().parents[1] / "studies" / "photographs" / "frozen.json"
VIT, STUDENT = ({"architecture": model, "weights": "small"} for model in (small.VIT, small.PAIR[0]))


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return load_model(ModelParams.model_validate(VIT), "student")


def test_its_file_holds_the_image_tower_alone() -> None:
    path = small.weights(small.VIT)
    for name, tensor in load_file(path).items():
        assert name.startswith(small.VISUAL)
        assert tensor.dtype == torch.float16
        assert torch.isfinite(tensor.float()).all(), name
    assert path.stat().st_size < 6 << 20


def test_it_is_the_one_that_figures_are_of() -> None:
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    assert state_digest(small.state(small.VIT)) == frozen["ViT, told well"]


def test_it_reads_names_as_the_other_student_does(clip: ClipModel) -> None:
    student = load_model(ModelParams.model_validate(STUDENT), "student")
    found, wanted = (
        template_vectors(one, ("a fox", "rice"), "a photo of {}.") for one in (clip, student)
    )
    np.testing.assert_array_equal(found, wanted)
    assert clip.logit_scale == student.logit_scale


def test_it_is_shown_pictures_as_open_clip_does_by_default(clip: ClipModel) -> None:
    about = clip.network.get_submodule("visual").preprocess_cfg
    assert (clip.mean, clip.std) == (tuple(about["mean"]), tuple(about["std"]))
    assert clip.image_size == 64


def test_its_image_tower_takes_prompts(clip: ClipModel) -> None:
    pixels = torch.randn(1, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    tower = PromptedImage(clip)
    activations = tower.activations(pixels)
    tokens = torch.randn(1, 6, 2, activations.shape[-1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = tower(tokens[:, :0], activations)
        assert not torch.allclose(tower(tokens, activations), plain, atol=1e-3)


def test_prompts_in_both_towers_are_learned_with_nothing_downloaded(tmp_path: Path) -> None:
    params = small_params(tmp_path, ["zero_shot", "ivlp"], student=VIT)
    work = Workspace(tmp_path / "work")
    for stage in PER_DATASET:
        for name in CLASSES:
            run_stage(stage, params, work, name)
    run = read_record(params, next(iter(CLASSES)), work).run("transfer", 2)
    assert run is not None
    assert set(run.methods) == {"zero_shot", "ivlp"}
