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
from fdbpl.methods.terms import informativeness
from fdbpl.training import knowledge
from fdbpl.training.features import CachedColumn, Teacher
from fdbpl.training.knowledge import bridged, remembered, with_knowledge
from fdbpl.training.loop import Task
from fdbpl.training.refinement import image_knowledge

IMAGES, CROPS, CLASSES = 12, 3, 4
BOTH = frozenset({"levels", "refined"})
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


def test_levels_are_those_of_the_seeds_own_regions_ascending(task: Task) -> None:
    found = with_knowledge(task, {"levels"}, PICKS)
    assert found.refined is None
    assert found.levels is not None
    assert found.levels.shape == (2, 4 * CROPS)
    assert (found.levels.diff(dim=-1) >= 0).all()
    for levels, pick in zip(found.levels, PICKS, strict=True):
        wanted = informativeness(regions_of(task, pick)[1]).flatten().sort().values
        assert torch.equal(levels, wanted)


def all_refined(task: Task) -> Tensor:
    """What a task knows of all images for both seeds, (2, IMAGES, CLASSES)."""
    assert task.refined is not None
    assert len(task.refined) == 2
    return task.refined[:]


def test_refined_is_known_at_the_picked_images_only(task: Task) -> None:
    known = with_knowledge(task, {"refined"}, PICKS)
    assert known.levels is None
    found = all_refined(known)
    assert found.shape == (2, IMAGES, CLASSES)
    for run, pick in enumerate(PICKS):
        assert torch.equal(found[run, pick], refined(*image_knowledge(*regions_of(task, pick))))
        assert torch.allclose(found[run, pick].exp().sum(-1), torch.ones(4))
        others = np.setdiff1d(np.arange(IMAGES), pick)
        assert (found[run, others] == 0).all()


def test_refined_is_read_by_runs_and_images_as_a_tensor_is(task: Task) -> None:
    known = with_knowledge(task, BOTH, PICKS)
    whole, runs, images = all_refined(known), np.arange(2)[:, None], np.stack(PICKS)
    assert torch.equal(known.refined[runs, images], whole[runs, images])
    assert torch.equal(known.refined[1, PICKS[1]], whole[1, PICKS[1]])


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_how_many_images_are_held_at_once_changes_nothing(
    task: Task, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    whole = with_knowledge(task, BOTH, PICKS)
    asked: list[int] = []

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(rows.numel())
        return task.features(rows)

    monkeypatch.setattr(knowledge, "REGIONS_AT_ONCE", at_once * CROPS + 1)
    monkeypatch.setattr(knowledge, "PARTS_AHEAD", 2)
    parts = with_knowledge(replace(task, features=features), BOTH, PICKS)
    assert max(asked) == at_once * CROPS
    assert sum(asked) == 7 * CROPS  # each picked image once, whoever picked it
    torch.testing.assert_close(parts.levels, whole.levels)
    torch.testing.assert_close(all_refined(parts), all_refined(whole))


def test_no_seed_learns_of_anothers_images(task: Task) -> None:
    together = with_knowledge(task, BOTH, PICKS)
    assert together.levels is not None
    refined_together = all_refined(together)
    for run, pick in enumerate(PICKS):
        alone = with_knowledge(task, BOTH, [pick])
        torch.testing.assert_close(alone.levels, together.levels[run : run + 1])
        torch.testing.assert_close(alone.refined[:], refined_together[run : run + 1])
    assert not torch.allclose(refined_together[0, 2], refined_together[1, 2], atol=1e-3)


def with_features(task: Task) -> Task:
    rng = np.random.default_rng(1)
    student = torch.from_numpy(unit(rng, IMAGES * CROPS, 5))
    areas = torch.from_numpy(rng.uniform(0.1, 1, IMAGES * CROPS).astype(np.float32))

    def features(rows: Tensor) -> tuple[Tensor, Tensor]:
        return student[rows], task.features(rows)[1]

    return replace(with_knowledge(task, BOTH, PICKS), features=features, areas=CachedColumn(areas))


def test_a_memory_is_the_discriminant_of_a_seeds_own_regions(task: Task) -> None:
    known = with_features(task)
    for run, pick in enumerate(PICKS):
        rows = torch.from_numpy((pick[:, None] * CROPS + np.arange(CROPS)).ravel())
        features = known.features(rows)[0].numpy()
        classes = np.repeat(known.refined[run, pick].exp().numpy(), CROPS, axis=0)
        wanted = discriminant([(features, classes, known.areas(rows).numpy())])
        np.testing.assert_allclose(remembered(known, run, pick), wanted, rtol=1e-4)


def test_a_memory_reads_no_label_and_does_not_depend_on_its_parts(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = with_features(task)
    whole = remembered(known, 1, PICKS[1])
    relabelled = replace(known, labels=torch.arange(IMAGES))
    assert np.array_equal(remembered(relabelled, 1, PICKS[1]), whole)
    monkeypatch.setattr(knowledge, "REGIONS_AT_ONCE", 3 * CROPS)
    np.testing.assert_allclose(remembered(known, 1, PICKS[1]), whole, rtol=1e-5)


def bridging(teacher_sees: bool) -> tuple[Task, np.ndarray]:
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
    return with_knowledge(task, {"refined"}, [np.arange(images)]), np.arange(images)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_bridge_is_built_where_held_out_classes_gain_by_it() -> None:
    task, images = bridging(teacher_sees=True)
    bridge, (without, with_bridge) = bridged(task, 0, images, seed=1, share=0.75)
    assert without < with_bridge <= 1
    assert bridge is not None
    assert bridge.shape == (8, 1 + 8 + 6)
    rows = torch.arange(len(images) * CROPS)
    pairs = [one.numpy() for one in task.features(rows)]
    wanted = Moments.of(*pairs, np.ones(len(rows))).bridge()
    np.testing.assert_allclose(bridge, wanted, atol=1e-6)


def test_no_bridge_is_built_where_they_do_not() -> None:
    task, images = bridging(teacher_sees=False)
    bridge, (without, with_bridge) = bridged(task, 0, images, seed=1, share=0.75)
    assert bridge is None
    assert with_bridge <= without


def test_a_bridge_reads_no_label_and_does_not_depend_on_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, images = bridging(teacher_sees=True)
    whole, tried = bridged(task, 0, images, seed=1, share=0.75)
    relabelled = replace(task, labels=torch.arange(len(images)))
    again, _ = bridged(relabelled, 0, images, seed=1, share=0.75)
    assert np.array_equal(whole, again)
    monkeypatch.setattr(knowledge, "REGIONS_AT_ONCE", 7 * CROPS)
    parts, tried_in_parts = bridged(task, 0, images, seed=1, share=0.75)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert tried_in_parts == pytest.approx(tried)


def test_the_rest_of_the_task_stands(task: Task) -> None:
    found = with_knowledge(task, BOTH, PICKS)
    assert replace(found, levels=None, refined=None) == task
