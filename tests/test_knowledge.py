"""What is gathered from the training cache before training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import unit
from test_refinement import refined
from torch import Tensor

from fdbpl.methods.bridge import Moments
from fdbpl.methods.discriminant import discriminant
from fdbpl.training import knowledge
from fdbpl.methods.features import CachedColumn, Teacher
from fdbpl.training.knowledge import bridged, refined_images, remembered
from fdbpl.training.loop import Task
from fdbpl.training.refinement import image_knowledge
from fdbpl.training.scratch import Parts

IMAGES, CROPS, CLASSES = 12, 3, 4
PICKS = [np.array([7, 2, 9, 4]), np.array([2, 0, 11, 5])]


@pytest.fixture
def task() -> Task:
    rng = np.random.default_rng(0)
    regions = torch.from_numpy(unit(rng, IMAGES * CROPS, 8))

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(*rows.shape, 5), regions[rows]

    return Task(
        labels=torch.zeros(IMAGES, dtype=torch.int64),
        crops=CROPS,
        features=features,
        teacher=Teacher(torch.from_numpy(unit(rng, CLASSES, 8)), 10.0),
        text=lambda contexts: contexts,
        scale=10.0,
    )


def regions_of(task: Task, images: np.ndarray) -> tuple[Tensor, Tensor]:
    """The teacher's features and log-probabilities of images' regions, (I, R, ...)."""
    rows = torch.from_numpy(images)[:, None] * CROPS + torch.arange(CROPS)
    _, features = task.features(rows)
    return features, task.teacher.log_probabilities(features)


def test_what_is_refined_is_of_a_seeds_own_images_in_their_order(task: Task) -> None:
    found = refined_images(task, PICKS)
    for rows, pick in zip(found, PICKS, strict=True):
        assert torch.equal(rows[:], refined(*image_knowledge(*regions_of(task, pick))))
        assert torch.allclose(rows[:].exp().sum(-1), torch.ones(4))
    shared = [int(np.flatnonzero(pick == 2)[0]) for pick in PICKS]  # image 2 is both seeds'
    one, other = (rows[place : place + 1] for rows, place in zip(found, shared, strict=True))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_how_many_images_are_held_at_once_changes_nothing(
    task: Task, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    whole = refined_images(task, PICKS)
    asked: list[int] = []

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(rows.numel())
        return task.features(rows)

    monkeypatch.setattr(knowledge, "REGIONS_AT_ONCE", at_once * CROPS + 1)
    monkeypatch.setattr(knowledge, "PARTS_AHEAD", 2)
    parts = refined_images(replace(task, features=features), PICKS)
    assert max(asked) == at_once * CROPS
    assert sum(asked) == 7 * CROPS  # each picked image once, whoever picked it
    for part, one in zip(parts, whole, strict=True):
        torch.testing.assert_close(part[:], one[:])


def with_features(task: Task) -> Task:
    rng = np.random.default_rng(1)
    student = torch.from_numpy(unit(rng, IMAGES * CROPS, 5))
    areas = torch.from_numpy(rng.uniform(0.1, 1, IMAGES * CROPS).astype(np.float32))

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        return student[rows], task.features(rows)[1]

    return replace(task, features=features, areas=CachedColumn(areas))


def test_a_memory_is_the_discriminant_of_a_seeds_own_regions(task: Task) -> None:
    known = with_features(task)
    for told, pick in zip(refined_images(known, PICKS), PICKS, strict=True):
        rows = torch.from_numpy((pick[:, None] * CROPS + np.arange(CROPS)).ravel())
        features = known.features(rows)[0].numpy()
        classes = np.repeat(told[:].exp().numpy(), CROPS, axis=0)
        wanted = discriminant([(features, classes, known.areas(rows).numpy())])
        np.testing.assert_allclose(remembered(known, told, pick), wanted, rtol=1e-4)


def test_a_memory_reads_no_label_and_does_not_depend_on_its_parts(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, pick = with_features(task), PICKS[1]
    (told,) = refined_images(known, [pick])
    whole = remembered(known, told, pick)
    relabelled = replace(known, labels=torch.arange(IMAGES))
    assert np.array_equal(remembered(relabelled, told, pick), whole)
    monkeypatch.setattr(knowledge, "REGIONS_AT_ONCE", 3 * CROPS)
    np.testing.assert_allclose(remembered(known, told, pick), whole, rtol=1e-5)


def bridging(teacher_sees: bool) -> tuple[Task, Parts, np.ndarray]:
    """Regions whose class the teacher tells, and the student only across a turned space."""
    rng = np.random.default_rng(5)
    images, classes, width = 60, 8, 6
    vectors = unit(rng, classes, width)
    told = np.arange(images) % classes
    teacher = unit_rows(vectors[np.repeat(told, CROPS)] + 0.1 * rng.standard_normal((180, width)))
    seen = teacher if teacher_sees else unit(rng, images * CROPS, width)
    student = unit_rows(np.hstack([seen, 0.2 * rng.standard_normal((180, 2))]))
    anchors = unit_rows(np.hstack([vectors, np.zeros((classes, 2))]) + 1.2 * unit(rng, classes, 8))

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(student)[rows], torch.from_numpy(teacher)[rows]

    task = Task(
        labels=torch.zeros(images, dtype=torch.int64),
        crops=CROPS,
        features=features,
        teacher=Teacher(torch.from_numpy(vectors), 30.0),
        text=lambda contexts: contexts,
        scale=10.0,
        anchors=torch.from_numpy(anchors),
    )
    picked = np.arange(images)
    return task, refined_images(task, [picked])[0], picked


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_bridge_is_built_where_held_out_classes_gain_by_it() -> None:
    task, told, images = bridging(teacher_sees=True)
    bridge, (without, with_bridge) = bridged(task, told, images, seed=1, share=0.75)
    assert without < with_bridge <= 1
    assert bridge is not None
    assert bridge.shape == (8, 1 + 8 + 6)
    rows = torch.arange(len(images) * CROPS)
    pairs = [one.numpy() for one in task.features(rows)]
    wanted = Moments.of(*pairs, np.ones(len(rows))).bridge()
    np.testing.assert_allclose(bridge, wanted, atol=1e-6)


def test_no_bridge_is_built_where_they_do_not() -> None:
    task, told, images = bridging(teacher_sees=False)
    bridge, (without, with_bridge) = bridged(task, told, images, seed=1, share=0.75)
    assert bridge is None
    assert with_bridge <= without


def test_a_bridge_reads_no_label_and_does_not_depend_on_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, told, images = bridging(teacher_sees=True)
    whole, tried = bridged(task, told, images, seed=1, share=0.75)
    relabelled = replace(task, labels=torch.arange(len(images)))
    again, _ = bridged(relabelled, told, images, seed=1, share=0.75)
    assert np.array_equal(whole, again)
    monkeypatch.setattr(knowledge, "REGIONS_AT_ONCE", 7 * CROPS)
    parts, tried_in_parts = bridged(task, told, images, seed=1, share=0.75)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert tried_in_parts == pytest.approx(tried)
