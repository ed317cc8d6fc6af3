"""What follows from a training's regions in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import unit
from test_refinement import refined
from torch import Tensor

from fdbpl.classify.bridge import Moments
from fdbpl.classify.discriminant import discriminant
from fdbpl.methods import region_pairs
from fdbpl.methods.features import CachedColumn, Lookup, Teacher
from fdbpl.methods.knowledge import Bridge, RegionMemory
from fdbpl.methods.refinement import image_knowledge
from fdbpl.methods.region_pairs import RegionPairs
from fdbpl.methods.training_data import TrainingData
from fdbpl.system.errors import UserError

IMAGES, CROPS, CLASSES = 12, 3, 4
PICKS = {1: np.array([7, 2, 9, 4]), 2: np.array([2, 0, 11, 5])}


def data_of(
    student: np.ndarray, told: np.ndarray, vectors: np.ndarray, areas: Lookup | None = None, **more
) -> TrainingData:
    images = len(student) // CROPS

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(student)[rows], torch.from_numpy(told)[rows]

    given = {"picks": {1: np.arange(images)}, "teacher": Teacher(torch.from_numpy(vectors), 10.0)}
    return TrainingData(
        clip=None,
        names=[str(label) for label in range(len(vectors))],
        labels=torch.zeros(images, dtype=torch.int64),
        regions=RegionPairs(features, CROPS, areas),
        text=lambda contexts: contexts,
        **{**given, **more},
    )


@pytest.fixture
def data() -> TrainingData:
    rng = np.random.default_rng(0)
    regions = [unit(rng, IMAGES * CROPS, width) for width in (5, 8)]
    areas = torch.from_numpy(rng.uniform(0.1, 1, IMAGES * CROPS).astype(np.float32))
    return data_of(*regions, unit(rng, CLASSES, 8), picks=PICKS, areas=CachedColumn(areas))


def rows_of(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images)[:, None] * CROPS + torch.arange(CROPS)


def test_what_is_refined_is_of_a_seeds_own_images_in_their_order(data: TrainingData) -> None:
    found = data.refined
    for seed, pick in PICKS.items():
        features = data.regions.features(rows_of(pick))[1]
        known = image_knowledge(features, data.teacher.log_probabilities(features))
        assert torch.equal(found[seed][:], refined(*known))
        assert torch.allclose(found[seed][:].exp().sum(-1), torch.ones(4))
    shared = [int(np.flatnonzero(pick == 2)[0]) for pick in PICKS.values()]  # both seeds' image 2
    one, other = (found[seed][at : at + 1] for seed, at in zip(PICKS, shared, strict=True))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_how_many_images_are_held_at_once_changes_nothing(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    whole, asked = data.refined, []

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(rows.numel())
        return data.regions.features(rows)

    monkeypatch.setattr(region_pairs, "REGIONS_AT_ONCE", at_once * CROPS + 1)
    monkeypatch.setattr(region_pairs, "PARTS_AHEAD", 2)
    parts = replace(data, features=features).refined
    assert max(asked) == at_once * CROPS
    assert sum(asked) == 7 * CROPS  # each picked image once, whoever picked it
    for seed in PICKS:
        torch.testing.assert_close(parts[seed][:], whole[seed][:])


@pytest.mark.parametrize("by_area", [True, False])
def test_a_memory_is_the_discriminant_of_a_seeds_own_regions(
    data: TrainingData, by_area: bool
) -> None:
    for seed, pick in PICKS.items():
        rows = rows_of(pick).flatten()
        classes = np.repeat(data.refined[seed][:].exp().numpy(), CROPS, axis=0)
        areas = data.regions.areas(rows).numpy() if by_area else np.ones(len(rows))
        wanted = discriminant([(data.regions.features(rows)[0].numpy(), classes, areas)])
        found, told = RegionMemory(by_area).fit(data, seed)
        np.testing.assert_allclose(found["memory"], wanted, rtol=1e-4)
        assert told == {}


def test_regions_show_the_whole_of_their_image_where_nobody_says_otherwise(data) -> None:
    without = replace(data, areas=None)
    wanted = RegionMemory(by_area=False).fit(data, 1)[0]["memory"]
    assert np.array_equal(RegionMemory().fit(without, 1)[0]["memory"], wanted)


def bridging(teacher_sees: bool) -> TrainingData:
    """Regions whose class the teacher tells, and the student only across a turned space."""
    rng = np.random.default_rng(5)
    images, classes, width = 60, 8, 6
    vectors = unit(rng, classes, width)
    told = np.arange(images) % classes
    teacher = unit_rows(vectors[np.repeat(told, CROPS)] + 0.1 * rng.standard_normal((180, width)))
    seen = teacher if teacher_sees else unit(rng, images * CROPS, width)
    student = unit_rows(np.hstack([seen, 0.2 * rng.standard_normal((180, 2))]))
    anchors = unit_rows(np.hstack([vectors, np.zeros((classes, 2))]) + 1.2 * unit(rng, classes, 8))
    sharp = Teacher(torch.from_numpy(vectors), 30.0)
    return data_of(student, teacher, vectors, teacher=sharp, anchors=torch.from_numpy(anchors))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_bridge_is_built_where_held_out_classes_gain_by_it() -> None:
    data = bridging(teacher_sees=True)
    found, told = Bridge(0.75).fit(data, 1)
    assert told["bridge"]["built"]
    assert told["bridge"]["without"] < told["bridge"]["with"] <= 1
    rows = torch.arange(len(data.labels) * CROPS)
    pairs = [one.numpy() for one in data.regions.features(rows)]
    wanted = Moments.of(*pairs, np.ones(len(rows))).bridge()
    assert wanted.shape == (8, 1 + 8 + 6)
    np.testing.assert_allclose(found["bridge"], wanted, atol=1e-6)


def test_no_bridge_is_built_where_they_do_not() -> None:
    found, told = Bridge(0.75).fit(bridging(teacher_sees=False), 1)
    assert found == {}
    assert not told["bridge"]["built"]
    assert told["bridge"]["with"] <= told["bridge"]["without"]


def test_a_bridge_needs_the_students_own_class_vectors() -> None:
    with pytest.raises(UserError, match=r"builds a bridge and needs anchors.*bridge_share to 0"):
        Bridge(0.75).fit(replace(bridging(teacher_sees=True), anchors=None), 1)


@pytest.mark.parametrize("form", [RegionMemory(), Bridge(0.75)])
def test_no_label_is_read_and_the_parts_make_the_whole(
    monkeypatch: pytest.MonkeyPatch, form: RegionMemory | Bridge
) -> None:
    data = bridging(teacher_sees=True)
    found, told = form.fit(data, 1)
    ((name, whole),) = found.items()
    relabelled = replace(data, labels=torch.arange(len(data.labels)))
    assert np.array_equal(form.fit(relabelled, 1)[0][name], whole)
    monkeypatch.setattr(region_pairs, "REGIONS_AT_ONCE", 7 * CROPS)
    found, told_in_parts = form.fit(replace(data), 1)  # `replace` forgets what was refined
    np.testing.assert_allclose(found[name], whole, rtol=1e-4, atol=1e-6)
    assert told_in_parts.get("bridge", {}) == pytest.approx(told.get("bridge", {}))
