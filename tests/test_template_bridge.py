"""The bridge from hidden features: its formula, its silence about classes, and the pipeline."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from small_pipeline import decision, evaluated, goes_through, run_all, small_params
from test_knowledge import CROPS, IMAGES, PICKS, data_of

from fdbpl.classify.decision import Decision
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.methods.features import CachedColumn
from fdbpl.methods.method import Classes
from fdbpl.methods.registry import find_method
from fdbpl.methods.template_bridge import RIDGE, SHARE, HiddenBridge
from fdbpl.methods.training_data import TrainingData
from fdbpl.serving.export.linear import linear_of
from fdbpl.stages import run_stage
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.training.once import in_closed_form

METHOD = find_method("template_bridge")
TEACHER = 8


@pytest.fixture
def data(clip: ClipModel) -> TrainingData:
    rng, width = np.random.default_rng(0), len(last_projection(clip))
    regions = [unit(rng, IMAGES * CROPS, one) for one in (width, TEACHER)]
    areas = torch.from_numpy(rng.uniform(0.1, 1, IMAGES * CROPS).astype(np.float32))
    found = data_of(*regions, unit(rng, 4, TEACHER), picks=PICKS, areas=CachedColumn(areas))
    return replace(found, clip=clip)


def fitted(data: TrainingData, seed: int) -> dict[str, Any]:
    return HiddenBridge().fit(data, seed)[0]


def test_it_is_the_weighted_ridge_regression_of_the_seeds_regions(data: TrainingData) -> None:
    for seed, picks in PICKS.items():
        rows = torch.from_numpy(picks)[:, None] * CROPS + torch.arange(CROPS)
        assert data.areas is not None
        x, y = (one.flatten(0, 1).double().numpy() for one in data.features(rows))
        w = data.areas(rows.flatten()).double().numpy()[:, None]
        x_mean, y_mean = (w * x).sum(0) / w.sum(), (w * y).sum(0) / w.sum()
        x0, y0 = x - x_mean, y - y_mean
        flat = RIDGE * np.trace(x0.T @ (w * x0)) / x.shape[1] * np.eye(x.shape[1])
        weights = np.linalg.inv(x0.T @ (w * x0) + flat) @ (x0.T @ (w * y0))
        wanted = data.teacher.scale * np.vstack([weights, y_mean - x_mean @ weights])
        np.testing.assert_allclose(fitted(data, seed)["bridge"], wanted, atol=1e-4)


def test_what_decides_is_the_template_and_the_teachers_logits_across(data: TrainingData) -> None:
    rng, arrays = np.random.default_rng(1), fitted(data, 1)
    template, teacher = unit(rng, 3, 32), unit(rng, 3, TEACHER)
    hidden = unit(rng, 9, len(arrays["projection"]))
    classes = Classes(("a", "b", "c"), 20.0, texts={"template": template}, teacher=teacher)
    found = METHOD.decision(arrays, classes).logits(hidden, [2, 0])
    for n, h in enumerate(hidden.astype(np.float64)):
        f = h @ arrays["projection"]
        across = h @ arrays["bridge"][:-1] + arrays["bridge"][-1]
        for k, label in enumerate([2, 0]):
            wanted = 20 * f @ template[label] / np.linalg.norm(f) + SHARE * across @ teacher[label]
            assert found[n, k] == pytest.approx(wanted, abs=1e-4)
    again = METHOD.decision(arrays, classes)
    kept = Decision.of(again.arrays(), again.spec())
    assert np.array_equal(kept.logits(hidden, [2, 0]), found)


def test_neither_labels_nor_what_was_learned_take_part(data: TrainingData) -> None:
    others = replace(data, labels=data.labels + 1, knows_classes=False)
    known, unknown = (in_closed_form(METHOD, one, 1, None)[0] for one in (data, others))
    for name, one in known.items():
        assert np.array_equal(one, unknown[name])
    rng = np.random.default_rng(2)
    given = {"texts": {"template": unit(rng, 2, 32)}, "teacher": unit(rng, 2, TEACHER)}
    alike = [
        METHOD.decision(known, Classes(("a", "b"), 9.0, learned=learned, same_domain=same, **given))
        for learned, same in (((), True), (("a", "b"), True), (("a",), False))
    ]
    hidden = unit(rng, 5, len(known["projection"]))
    first, *rest = (one.logits(hidden, [0, 1]) for one in alike)
    assert all(np.array_equal(first, one) for one in rest)


@pytest.mark.parametrize("teacher", [None, (3, 8), (2, 9)])
def test_the_teachers_vectors_are_asked_for(data: TrainingData, teacher: Any) -> None:
    given = None if teacher is None else np.zeros(teacher)
    classes = Classes(("a", "b"), 9.0, texts={"template": np.zeros((2, 32))}, teacher=given)
    with pytest.raises(UserError, match=r"wanted \[2, 8\].*Pass teacher_vectors"):
        METHOD.decision(fitted(data, 1), classes)


def test_it_goes_through_the_pipeline(tmp_path: Path) -> None:
    goes_through(tmp_path, "template_bridge", transfers=True)


def test_encoded_anew_it_learns_the_same(tmp_path: Path) -> None:
    found = []
    for features in ("cached", "online"):
        student = {"architecture": "fdbpl-tiny-student", "weights": "tiny", "features": features}
        params = small_params(tmp_path, ["template_bridge"], student=student)
        work = Workspace(tmp_path / features)
        for stage in ("prepare_crops", "cache_teacher", "train_student"):
            run_stage(stage, params, work, "here")
        found.append(decision(params, work, "template_bridge").arrays()["bridge.rows"])
    np.testing.assert_allclose(found[0], found[1], atol=0.02)


def test_a_student_without_a_plain_projection_is_taken_as_it_is(tmp_path: Path) -> None:
    student = {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"}
    params = small_params(tmp_path, ["zero_shot", "template_bridge"], student=student)
    work = Workspace(tmp_path / "work")
    said = run_all(params, work)
    assert ": hidden encoded 0, reused" in "\n".join(said["cache_teacher"])
    found = decision(params, work, "template_bridge")
    assert (found.sees, found.projection) == ("student", None)
    assert linear_of(found).weights.shape == found.vectors.shape
    assert {"base", "new"} <= set(
        evaluated(work, "template_bridge", "here", "base-to-new")["1"]["measures"]
    )
