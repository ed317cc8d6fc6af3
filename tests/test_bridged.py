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
from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.bridged import RIDGE, SHARE, SOURCE, Bridged
from fdbpl.methods.features import CachedColumn
from fdbpl.methods.kdpl import Kdpl
from fdbpl.methods.method import Classes, Method
from fdbpl.methods.params import TrainParams
from fdbpl.methods.region_pairs import RegionPairs, SourceRegions
from fdbpl.methods.registry import find_method
from fdbpl.methods.training_data import TrainingData
from fdbpl.serving.export.linear import linear_of
from fdbpl.stages import run_stage
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import classes_of, text_encoder
from fdbpl.training.once import in_closed_form
from fdbpl.training.store import TrainingStore

METHOD = find_method("template_bridge")
OWN = find_method("template_own_bridge")
TEACHER = 8


def drawn(clip: ClipModel, seed: int, **more: Any) -> TrainingData:
    rng, width = np.random.default_rng(seed), len(last_projection(clip))
    regions = [unit(rng, IMAGES * CROPS, one) for one in (width, TEACHER)]
    areas = torch.from_numpy(rng.uniform(0.1, 1, IMAGES * CROPS).astype(np.float32))
    found = data_of(*regions, unit(rng, 4, TEACHER), picks=PICKS, areas=CachedColumn(areas))
    return replace(found, clip=clip, sees_hidden=True, **more)


@pytest.fixture
def data(clip: ClipModel) -> TrainingData:
    other = drawn(clip, 9).regions
    source = SourceRegions(lambda: (other, np.arange(IMAGES)), "drawn")
    return drawn(clip, 0, source=source)


def fitted(data: TrainingData, seed: int, method: Method = METHOD) -> dict[str, Any]:
    return in_closed_form(method, data, seed, None)[0]


def sums(regions: RegionPairs, picks: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """h, the teacher's features and weights of the images' regions, in float64."""
    rows = torch.from_numpy(picks)[:, None] * CROPS + torch.arange(CROPS)
    assert regions.areas is not None
    x, y = (one.flatten(0, 1).double().numpy() for one in regions.features(rows))
    return x, y, regions.areas(rows.flatten()).double().numpy()[:, None]


@pytest.mark.parametrize("method", [OWN, METHOD])
def test_it_is_the_weighted_ridge_regression_of_the_regions(
    data: TrainingData, method: Method
) -> None:
    for seed, picks in PICKS.items():
        x, y, w = sums(data.regions, picks)
        if method is METHOD:
            assert data.source is not None
            other = sums(data.source.open()[0], np.arange(IMAGES))
            x, y = np.vstack([x, other[0]]), np.vstack([y, other[1]])
            w = np.vstack([w, SOURCE * w.sum() / other[2].sum() * other[2]])
        x_mean, y_mean = (w * x).sum(0) / w.sum(), (w * y).sum(0) / w.sum()
        x0, y0 = x - x_mean, y - y_mean
        flat = RIDGE * np.trace(x0.T @ (w * x0)) / x.shape[1] * np.eye(x.shape[1])
        weights = np.linalg.inv(x0.T @ (w * x0) + flat) @ (x0.T @ (w * y0))
        found = fitted(data, seed, method)
        np.testing.assert_allclose(found["bridge"], data.teacher.scale * weights, atol=1e-4)
        np.testing.assert_allclose(found["hidden_mean"], x_mean, atol=1e-6)
        f = x @ found["projection"]
        f /= np.linalg.norm(f, axis=1, keepdims=True)
        np.testing.assert_allclose(found["feature_mean"], (w * f).sum(0) / w.sum(), atol=1e-6)


def test_without_a_source_both_are_the_same(data: TrainingData) -> None:
    alone = replace(data, source=None)
    one, other = (fitted(alone, 1, method) for method in (OWN, METHOD))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not np.array_equal(fitted(data, 1)["bridge"], one["bridge"])


def test_the_source_is_read_once_for_all_seeds_and_methods(data: TrainingData) -> None:
    assert data.source is not None
    source, opened = data.source, []

    def counted() -> Any:
        opened.append(1)
        return source.open()

    other = replace(data, source=SourceRegions(counted, "drawn"))
    for seed in PICKS:
        fitted(other, seed)
        fitted(other, seed, OWN)
    assert opened == [1]


def test_a_training_is_kept_under_the_source_it_read(data: TrainingData, tmp_path: Path) -> None:
    def key(method: Method, source: SourceRegions | None) -> str:
        store = TrainingStore(tmp_path, dict.fromkeys(PICKS, "same"))
        return in_closed_form(method, replace(data, source=source), 1, store)[2][0]

    assert data.source is not None
    sources = [None, data.source, replace(data.source, digest="another")]
    assert len({key(METHOD, source) for source in sources}) == 3
    assert len({key(OWN, source) for source in sources}) == 1


def test_what_is_fitted_lies_as_what_is_looked_up(data: TrainingData, tmp_path: Path) -> None:
    turned = np.asfortranarray(data.projection)  # as the transpose of a layer's weight lies
    data.__dict__["projection"] = turned
    store = TrainingStore(tmp_path, dict.fromkeys(PICKS, "same"))
    new, known = (in_closed_form(METHOD, data, 1, store)[0] for _ in range(2))
    assert list(new) == list(known)
    for name, one in new.items():
        assert np.array_equal(one, known[name])
        assert one.strides == known[name].strides


def test_what_decides_is_centred_and_the_teachers_logits_across(data: TrainingData) -> None:
    rng, arrays = np.random.default_rng(1), fitted(data, 1)
    template, teacher = unit(rng, 3, 32), unit(rng, 3, TEACHER)
    hidden = unit(rng, 9, len(arrays["projection"]))
    classes = Classes(("a", "b", "c"), 20.0, texts={"template": template}, teacher=teacher)
    found = METHOD.decision(arrays, classes).logits(hidden, [2, 0])
    for n, h in enumerate(hidden.astype(np.float64)):
        f = h @ arrays["projection"]
        f = f / np.linalg.norm(f) - arrays["feature_mean"]
        across = (h - arrays["hidden_mean"]) @ arrays["bridge"]
        for k, label in enumerate([2, 0]):
            wanted = 20 * f @ template[label] + SHARE * across @ teacher[label]
            assert found[n, k] == pytest.approx(wanted, abs=1e-4)
    again = METHOD.decision(arrays, classes)
    kept = Decision.of(again.arrays(), again.spec())
    assert np.array_equal(kept.logits(hidden, [2, 0]), found)


def test_contexts_are_learned_on_the_logits_that_decide(data: TrainingData) -> None:
    seen: list[torch.Tensor] = []

    class Spying(Kdpl):
        def objective(self, batch: Batch, text: torch.Tensor, scale: float) -> Terms:
            seen.append(batch.logits(text[..., 0, :, :], scale))
            return super().objective(batch, text, scale)

    method = Bridged("spying", "spying", Spying("inner", "inner"))
    names = tuple("abcd")
    given = replace(data, names=names, text=text_encoder(data.clip, names))
    start = method.start(given, 1)
    tensors = {name: one[None] for name, one in {**start.learned, **start.fixed}.items()}
    rows = torch.arange(6)[None]
    hidden, teacher = given.regions.features(rows)
    method.loss(tensors, given.batch(rows // CROPS, rows, hidden, teacher), given)
    arrays = {name: one[0].numpy() for name, one in tensors.items()}
    vectors = data.teacher.vectors.numpy()
    classes = replace(classes_of(data.clip, names), teacher=vectors)
    found = method.decision(arrays, classes).logits(hidden[0].numpy(), range(4))
    np.testing.assert_allclose(seen[0][0].detach().numpy(), found, atol=1e-3)
    bridge = fitted(data, 1)
    assert all(np.array_equal(bridge[name], arrays[name]) for name in bridge)


@pytest.mark.parametrize("name", ["coop_bridge", "tcp_bridge", "fdbpl"])
def test_options_schedule_and_labels_are_the_other_methods(name: str) -> None:
    method = find_method(name)
    assert isinstance(method, Bridged)
    assert (method.labelled, method.options) == (method.inner.labelled, method.inner.options)
    params = TrainParams(lr=0.3)
    assert method.recipe(params) == method.inner.recipe(params)
    assert method.training != method.inner.training
    assert type(method.inner) in method.learned_by
    if name == "fdbpl":
        changed = method.with_options({"negative_share": 0.25})
        assert changed.inner.options.negative_share == changed.options.negative_share == 0.25
        assert method.inner.options.negative_share == 0.5


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


@pytest.mark.parametrize("name", ["template_bridge", "fdbpl"])
def test_it_goes_through_the_pipeline(tmp_path: Path, name: str) -> None:
    goes_through(tmp_path, name, transfers=True)


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
