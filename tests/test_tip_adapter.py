"""Classifiers of the labelled shots, which know the classes learned alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import unit
from hypothesis import given
from kinds import FITTED
from test_linear_probe import problem, seeds
from torch import Tensor

from fdbpl.classify.decision import Decision
from fdbpl.classify.discriminant import discriminant, values
from fdbpl.methods.features import Teacher
from fdbpl.methods.gda import SHARE
from fdbpl.methods.linear_probe import Shots
from fdbpl.methods.method import Classes
from fdbpl.methods.region_pairs import RegionPairs
from fdbpl.methods.registry import METHODS
from fdbpl.methods.tip_adapter import cache_model
from fdbpl.methods.training_data import TrainingData

NAMES = ("ant", "bee", "crow", "duck", "eel")
BASE, LEARNED = [1, 2, 4], ("bee", "crow", "eel")


def decided(method: str, shots: Shots, vectors: np.ndarray) -> Decision:
    """What a method decides by that learned from the first images of a larger data set."""
    images, crops, width = shots.features.shape
    features = torch.from_numpy(shots.features.reshape(-1, width).astype(np.float32))

    def read(rows: Tensor) -> tuple[Tensor, Tensor]:
        return features[rows], features[rows]

    data = TrainingData(
        clip=SimpleNamespace(logit_scale=18.7),  # type: ignore[arg-type]
        names=LEARNED,
        labels=torch.cat([torch.from_numpy(shots.labels), torch.zeros(3, dtype=torch.int64)]),
        picks={7: np.arange(images)},
        regions=RegionPairs(read, crops),
        teacher=Teacher(torch.zeros(len(LEARNED), width), 1.0),
        text=lambda contexts: contexts,
        anchors=torch.from_numpy(vectors[BASE].astype(np.float32)),
    )
    arrays: dict[str, np.ndarray] = {}
    for form in METHODS[method].closed_form:
        found, told = form.fit(data, 7)
        arrays |= found
        assert set(told) == ({"penalty"} if method.startswith("linear_probe") else set())
    known = Classes(NAMES, 18.7, LEARNED, {"template": vectors})
    return METHODS[method].decision(arrays, known)


@given(seed=seeds)
def test_tip_adapter_equals_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shots, features, vectors = problem(seed), unit(rng, 5, 8), unit(rng, 5, 8)
    found = decided("tip_adapter", shots, vectors).logits(features, range(5))
    for row, f in enumerate(features.astype(float)):
        wanted = 18.7 * vectors.astype(float) @ f
        for regions, label in zip(shots.features, shots.labels, strict=True):
            key = regions.mean(axis=0)
            key /= np.sqrt(key @ key)
            wanted[BASE[label]] += 1.0 * np.exp(-5.5 * (1 - f @ key))
        assert found[row] == pytest.approx(wanted, abs=1e-4)


@given(seed=seeds)
def test_a_cache_model_of_no_weight_is_nothing_and_of_twice_the_weight_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys, labels, features = unit(rng, 6, 8), np.arange(6) % 3, unit(rng, 4, 8)
    known = Classes(NAMES, 1.0, LEARNED)
    zero, one, two = (
        cache_model(keys, labels, known, alpha, 5.5).applied(0.0, features, np.arange(5))
        for alpha in (0.0, 1.0, 2.0)
    )
    assert not zero.any()
    assert two == pytest.approx(2 * one)
    assert not one[:, [0, 3]].any()


@given(seed=seeds)
def test_gda_adds_the_discriminant_of_the_labelled_regions_whatever_competes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shots, features, vectors = problem(seed), unit(rng, 5, 8), unit(rng, 5, 8)
    labelled = np.eye(3)[np.repeat(shots.labels, 4)]
    rows = discriminant([(shots.features.reshape(-1, 8), labelled, np.ones(48))])
    decision, template = decided("gda", shots, vectors), Decision(vectors, 18.7)
    for among in (BASE, [0, 3], [0, 1, 2, 3, 4]):
        wanted = np.array(template.logits(features, among), np.float64)
        for column, label in enumerate(among):
            if label in BASE:
                row = BASE.index(label)
                wanted[:, column] += SHARE * values(rows[[row]], features)[:, 0]
        assert decision.logits(features, among) == pytest.approx(wanted, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("method", [name for name in FITTED if METHODS[name].closed_form])
def test_of_new_classes_the_template_speaks_and_beside_base_ones_as_it_is(method: str) -> None:
    rng = np.random.default_rng(3)
    shots, features, vectors = problem(3), unit(rng, 7, 8), unit(rng, 5, 8)
    decision, template = decided(method, shots, vectors), Decision(vectors, 18.7)
    assert np.array_equal(decision.logits(features, [3, 0]), template.logits(features, [3, 0]))
    alone = decision.logits(features, BASE)
    assert not np.allclose(alone, template.logits(features, BASE), atol=0.1)
    joint = decision.logits(features, range(5))
    assert joint[:, BASE] == pytest.approx(alone, abs=1e-5)
    assert joint[:, [0, 3]] == pytest.approx(template.logits(features, [0, 3]), abs=1e-5)
