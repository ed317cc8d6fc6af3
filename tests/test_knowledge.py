"""What follows from a training's regions in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import unit
from test_refinement import refined
from torch import Tensor

from fdbpl.classify.discriminant import discriminant
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.methods import region_pairs
from fdbpl.methods.features import CachedColumn, Lookup, Teacher
from fdbpl.methods.knowledge import RegionMemory
from fdbpl.methods.refinement import image_knowledge
from fdbpl.methods.region_pairs import RegionPairs
from fdbpl.methods.training_data import TrainingData

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
    parts = replace(data, regions=replace(data.regions, features=features)).refined
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
    without = replace(data, regions=replace(data.regions, areas=None))
    wanted = RegionMemory(by_area=False).fit(data, 1)[0]["memory"]
    assert np.array_equal(RegionMemory().fit(without, 1)[0]["memory"], wanted)


def told_apart() -> TrainingData:
    """Regions whose class both models tell."""
    rng = np.random.default_rng(5)
    images, classes, width = 60, 8, 6
    vectors = unit(rng, classes, width)
    told = np.arange(images) % classes
    teacher = unit_rows(vectors[np.repeat(told, CROPS)] + 0.1 * rng.standard_normal((180, width)))
    student = unit_rows(np.hstack([teacher, 0.2 * rng.standard_normal((180, 2))]))
    return data_of(student, teacher, vectors, teacher=Teacher(torch.from_numpy(vectors), 30.0))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_no_label_is_read_and_the_parts_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data, form = told_apart(), RegionMemory()
    whole = form.fit(data, 1)[0]["memory"]
    relabelled = replace(data, labels=torch.arange(len(data.labels)))
    assert np.array_equal(form.fit(relabelled, 1)[0]["memory"], whole)
    monkeypatch.setattr(region_pairs, "REGIONS_AT_ONCE", 7 * CROPS)
    found, _ = form.fit(replace(data), 1)  # `replace` forgets what was refined
    np.testing.assert_allclose(found["memory"], whole, rtol=1e-4, atol=1e-6)


def test_of_features_before_the_projection_it_remembers_those_after(clip: ClipModel) -> None:
    data, w = told_apart(), last_projection(clip).numpy()
    hidden = unit(np.random.default_rng(3), len(data.labels) * CROPS, len(w))
    student = data.regions.features

    def before(rows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(hidden)[rows], student(rows)[1]

    def after(rows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(unit_rows(hidden @ w))[rows], student(rows)[1]

    found = [
        RegionMemory().fit(replace(data, clip=clip, regions=RegionPairs(one, CROPS), **more), 1)
        for one, more in ((before, {"sees_hidden": True}), (after, {}))
    ]
    np.testing.assert_allclose(found[0][0]["memory"], found[1][0]["memory"], atol=1e-4)
