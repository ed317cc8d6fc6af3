"""ProLIP: zero-shot where it starts, its formula a region at a time, and a cache of its own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from plain_loss import SCALE, SEEDS, batch_of, cross_entropy, has_slopes
from small_pipeline import decision, goes_through, run_all, small_params
from torch import Tensor

from fdbpl.cache.cache import open_cache
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.methods.params import TrainParams
from fdbpl.methods.registry import find_method
from fdbpl.stages import run_stage
from fdbpl.stages.estimate import estimate
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import learn

NAMES, SHOTS = ("cat", "dog", "sea side"), 4


@pytest.fixture
def data(clip: ClipModel) -> Any:
    """What the loss reads: four shots of each of three classes."""
    picks = {1: np.arange(12), 2: np.arange(12)}
    cpu = torch.device("cpu")
    return SimpleNamespace(clip=clip, scale=SCALE, names=NAMES, picks=picks, device=cpu)


@pytest.mark.parametrize(
    ("penalty", "weight"), [("1/N", 1 / 4), ("1/N^2", 1 / 16), (0.3, 0.3), (0, 0.0)]
)
def test_the_loss_and_its_slopes_are_those_of_the_formula(
    clip: ClipModel, data: Any, penalty: object, weight: float
) -> None:
    start = last_projection(clip).double()
    anchors = batch_of(start.shape[1], 3, seed=3).anchors
    batch = batch_of(start.shape[0], 3, anchors=anchors)
    draw = torch.Generator().manual_seed(1)
    moved = start + 0.05 * torch.randn(SEEDS, *start.shape, generator=draw, dtype=torch.float64)
    method = find_method("prolip", {"penalty": penalty})

    def loss(projection: Tensor) -> Tensor:
        return torch.stack(list(method.loss({"projection": projection}, batch, data).values()))

    for run, (error, apart) in enumerate(loss(moved).T.tolist()):
        carried = [h @ moved[run].numpy() for h in batch.student[run].numpy()]
        logits = [
            SCALE * batch.require("anchors").numpy() @ (f / np.linalg.norm(f)) for f in carried
        ]
        wanted = cross_entropy(logits, batch.labels[run].tolist())
        assert error == pytest.approx(wanted, rel=1e-10)
        squares = sum(float(x) ** 2 for x in (moved[run] - start).flatten())
        assert apart == pytest.approx(weight * squares, rel=1e-10)
    has_slopes(loss, moved)


def test_the_length_of_hidden_features_changes_neither_loss_nor_slopes(
    clip: ClipModel, data: Any
) -> None:
    start = last_projection(clip).double()
    method, found = find_method("prolip"), []
    for length in (1.0, 7.0):
        batch = batch_of(start.shape[0], 3, anchors=batch_of(start.shape[1], 3, seed=3).anchors)
        batch = type(batch)(length * batch.student, batch.teacher, batch.labels, batch.anchors)
        projection = start.expand(SEEDS, -1, -1).clone().requires_grad_()
        error = method.loss({"projection": projection}, batch, data)["cross_entropy"]
        found.append((error.detach(), torch.autograd.grad(error.sum(), projection)[0]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_loss_falls(clip: ClipModel) -> None:
    rng = np.random.default_rng(0)
    labels, width = np.arange(12) % 3, len(last_projection(clip))
    regions = unit(rng, 3, width)[labels] + 0.5 * unit(rng, 12, width)
    found = learn(
        clip,
        NAMES,
        student=(regions / np.linalg.norm(regions, axis=1, keepdims=True)).astype(np.float32),
        teacher=unit(rng, 12, 24),
        teacher_vectors=unit(rng, 3, 24),
        teacher_scale=SCALE,
        labels=labels,
        anchors=unit(rng, 3, 32),
        method="prolip",
        options={"lr": 0.01},
        params=TrainParams(epochs=8, batch=4),
    )[1]
    terms = found.history["terms"]
    assert terms["cross_entropy"][-1] < terms["cross_entropy"][0]
    assert terms["penalty"][-1] > 0
    assert found.arrays["projection"].shape == (width, 32)


def test_it_goes_through_the_pipeline(tmp_path: Path) -> None:
    goes_through(tmp_path, "prolip", transfers=True)


def test_unmoved_it_is_zero_shot(tmp_path: Path) -> None:
    params = small_params(tmp_path, ["zero_shot", "prolip"], objectives={"prolip": {"lr": 1e-30}})
    work = Workspace(tmp_path / "work")
    run_all(params, work)
    tests = {
        role: open_cache(work.cache("here", role)).features("test")
        for role in ("student", "hidden")
    }
    learned, written = (decision(params, work, name) for name in ("prolip", "zero_shot"))
    assert (learned.sees, written.sees) == ("hidden", "student")
    np.testing.assert_allclose(
        learned.logits(tests["hidden"], range(4)) / learned.scale,
        written.logits(tests["student"], range(4)) / written.scale,
        atol=1e-5,
    )


def test_a_third_cache_is_built_for_it_alone_and_changes_no_other(tmp_path: Path) -> None:
    digests = []
    for name, methods in (("without", ["coop"]), ("with", ["coop", "prolip"])):
        params, work = small_params(tmp_path, methods), Workspace(tmp_path / name)
        for stage in ("prepare_crops", "cache_teacher"):
            run_stage(stage, params, work, "here")
        assert work.cache("here", "hidden").exists() == ("prolip" in methods)
        digests.append(
            [open_cache(work.cache("here", one)).manifest.digest for one in ("student", "teacher")]
        )
    assert digests[0] == digests[1]
    hidden = open_cache(work.cache("here", "hidden")).manifest.identity
    assert hidden.encoder["output"] == "before projection"


def test_encoded_anew_it_learns_the_same(tmp_path: Path) -> None:
    found = []
    for features in ("cached", "online"):
        student = {"architecture": "fdbpl-tiny-student", "weights": "tiny", "features": features}
        params = small_params(tmp_path, ["prolip"], student=student)
        work = Workspace(tmp_path / features)
        for stage in ("prepare_crops", "cache_teacher", "train_student"):
            run_stage(stage, params, work, "here")
        found.append(decision(params, work, "prolip").arrays()["projection"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_a_build_with_it_is_estimated(tmp_path: Path) -> None:
    params = small_params(tmp_path, ["prolip"])
    parts = estimate(params, Workspace(tmp_path / "work"))
    assert list(parts) == ["student", "teacher", "hidden", "training"]


def test_a_student_without_a_plain_projection_is_refused(tmp_path: Path) -> None:
    teacher = {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"}
    params, work = small_params(tmp_path, ["prolip"], student=teacher), Workspace(tmp_path / "work")
    run_stage("prepare_crops", params, work, "here")
    with pytest.raises(UserError, match=r"methods: prolip: .* cannot show its features before"):
        run_stage("cache_teacher", params, work, "here")
