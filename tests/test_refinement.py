"""What is refined from whole images, against plain loops in double precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fdbpl.methods import refinement
from fdbpl.methods.refinement import ROUNDS, SHARPNESS, image_knowledge, refined_log_probabilities
from fdbpl.methods.scratch import Parts

seeds = st.integers(0, 999)
Rows = list[list[float]]


def directions(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def log_probabilities(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).log_softmax(-1)


def refined(images: Parts, verdicts: Parts) -> Tensor:
    return torch.cat(tuple(refined_log_probabilities(images, verdicts)))


def plain_unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def plain_log_softmax(row: list[float]) -> list[float]:
    total = max(row) + math.log(sum(math.exp(x - max(row)) for x in row))
    return [x - total for x in row]


def plain_knowledge(features: list[Rows], log_p: list[Rows]) -> tuple[Rows, Rows]:
    """Mean features and joint verdicts, an image and a region at a time."""
    means, verdicts = [], []
    for regions, rows in zip(features, log_p, strict=True):
        means.append(plain_unit([sum(column) for column in zip(*regions, strict=True)]))
        classes = len(rows[0])
        weights = [1 + sum(math.exp(x) * x for x in row) / math.log(classes) for row in rows]
        joint = [
            sum(w * row[c] for w, row in zip(weights, rows, strict=True)) / sum(weights)
            for c in range(classes)
        ]
        verdicts.append(plain_log_softmax(joint))
    return means, verdicts


def plain_refined(images: Rows, verdicts: Rows) -> Rows:
    """The rounds of prototypes, an image and a class at a time."""
    count, width, classes = len(images), len(images[0]), len(verdicts[0])
    middle = [sum(image[k] for image in images) / count for k in range(width)]
    centred = [plain_unit([x - m for x, m in zip(image, middle, strict=True)]) for image in images]
    log_p = verdicts
    for _ in range(ROUNDS):
        prototypes = [
            plain_unit(
                [
                    sum(math.exp(log_p[i][c]) * centred[i][k] for i in range(count))
                    for k in range(width)
                ]
            )
            for c in range(classes)
        ]
        log_p = [
            plain_log_softmax(
                [
                    verdict[c]
                    + SHARPNESS * sum(x * y for x, y in zip(one, prototypes[c], strict=True))
                    for c in range(classes)
                ]
            )
            for one, verdict in zip(centred, verdicts, strict=True)
        ]
    return log_p


@given(seed=seeds, regions=st.integers(1, 4))
def test_an_images_knowledge_equals_its_formula(seed: int, regions: int) -> None:
    features, log_p = directions(seed, 3, regions, 6), log_probabilities(seed + 1, 3, regions, 4)
    mean, verdict = image_knowledge(features, log_p)
    means, verdicts = plain_knowledge(features.tolist(), log_p.tolist())
    np.testing.assert_allclose(mean, means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(verdict, verdicts, rtol=1e-10, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, count=st.integers(2, 9))
def test_refined_probabilities_equal_the_plain_loop(seed: int, count: int) -> None:
    images, verdicts = directions(seed, count, 6), log_probabilities(seed + 1, count, 4)
    found = refined(images, verdicts)
    wanted = plain_refined(images.tolist(), verdicts.tolist())
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)


@given(seed=seeds, count=st.integers(1, 9))
def test_rows_are_distributions(seed: int, count: int) -> None:
    images, verdicts = directions(seed, count, 6).float(), log_probabilities(seed, count, 4).float()
    found = refined(images, verdicts)
    assert found.shape == (count, 4)
    assert torch.isfinite(found).all()
    assert (found <= 0).all()
    assert torch.allclose(found.exp().sum(-1), torch.ones(count), atol=1e-5)
    _, verdict = image_knowledge(images[:, None], verdicts[:, None])
    assert torch.allclose(verdict, verdicts, atol=1e-5)  # a lone region is the whole verdict


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_the_order_of_images_does_not_matter(seed: int) -> None:
    images, verdicts = directions(seed, 9, 6), log_probabilities(seed + 1, 9, 4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    found = refined(images[order], verdicts[order])
    assert torch.allclose(found, refined(images, verdicts)[order], atol=1e-7)


@given(seed=seeds)
def test_regions_that_tell_nothing_have_no_say_in_the_verdict(seed: int) -> None:
    features, log_p = directions(seed, 2, 3, 6), log_probabilities(seed + 1, 2, 3, 4)
    log_p[:, 1] = -math.log(4)
    _, verdict = image_knowledge(features, log_p)
    _, without = image_knowledge(features[:, ::2], log_p[:, ::2])
    assert torch.allclose(verdict, without, atol=1e-12)


def test_without_sharpness_the_verdict_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    images, verdicts = directions(0, 9, 6), log_probabilities(1, 9, 4)
    assert not torch.allclose(refined(images, verdicts), verdicts, atol=0.1)
    monkeypatch.setattr(refinement, "SHARPNESS", 0.0)
    assert torch.allclose(refined(images, verdicts), verdicts, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_images_that_gather_by_class_are_named_better(seed: int) -> None:
    """One cluster a class: what looks alike helps the images whose own verdict is wrong."""
    classes, each = 4, 20
    labels = torch.arange(classes).repeat_interleave(each)
    centres = directions(seed, classes, 16)[labels]
    images = torch.nn.functional.normalize(centres + 0.3 * directions(seed + 1, 80, 16), dim=-1)
    right = torch.nn.functional.one_hot(labels, classes).double()
    generator = torch.Generator().manual_seed(seed + 2)
    noise = torch.randn(80, classes, generator=generator, dtype=torch.float64)
    verdicts = (0.8 * right + noise).log_softmax(-1)

    def accuracy(log_p: Tensor) -> float:
        return (log_p.argmax(-1) == labels).double().mean().item()

    before, after = accuracy(verdicts), accuracy(refined(images, verdicts))
    assert before < 0.75
    assert after > before + 0.15
