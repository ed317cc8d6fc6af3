import math

import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.classify.decision import Decision
from fdbpl.evaluation.accuracy import (
    accuracy,
    base_to_new,
    harmonic_mean,
    over_datasets,
    over_seeds,
    over_targets,
)
from fdbpl.system.errors import UserError

per_cent = st.floats(0, 100)
FEATURES = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 1, 0], [0, 0.6, 0.8]])
IDENTITY = Decision(np.eye(3))


def test_accuracy_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    assert accuracy(FEATURES, labels, IDENTITY, [0, 1, 2]) == 50
    assert accuracy(FEATURES, labels, IDENTITY, [0, 1]) == 75  # class 2 no longer competes
    assert accuracy(FEATURES, labels, IDENTITY, [0, 2]) == 100  # images of class 1 do not count
    assert accuracy(FEATURES, labels, IDENTITY, [1, 2]) == 50


@pytest.mark.parametrize(
    ("labels", "says"),
    [([0, 1, 0], "2 rows of features and 3 labels"), ([0, 1], "none of 2 labels is one of the 1")],
)
def test_what_cannot_be_measured_is_refused(labels: list[int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        accuracy(np.eye(2), np.array(labels), Decision(np.eye(3, 2)), [2])


def test_base_to_new_by_hand() -> None:
    labels = np.array([0, 1, 1, 2])
    result = base_to_new(FEATURES, labels, IDENTITY, base=(0, 1), new=(2,))
    perfect = {"base": 100, "new": 100, "h": 100}
    assert result == {**perfect, "joint": perfect}
    result = base_to_new(FEATURES, np.array([1, 1, 1, 2]), IDENTITY, base=(0, 1), new=(2,))
    assert result["base"] == pytest.approx(200 / 3)
    assert result["h"] == pytest.approx(80)


@given(st.integers(0, 99))
def test_joint_is_among_all_classes_whichever_half_an_image_is_from(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, decision = unit(rng, 30, 4), Decision(unit(rng, 5, 4))
    labels, base, new = np.arange(30) % 5, (0, 2), (1, 3, 4)
    joint = base_to_new(features, labels, decision, base, new)["joint"]
    right = decision.logits(features, range(5)).argmax(axis=1) == labels
    for half, classes in (("base", base), ("new", new)):
        assert joint[half] == pytest.approx(100 * right[np.isin(labels, classes)].mean())
    assert joint["h"] == harmonic_mean(joint["base"], joint["new"])


@given(st.integers(0, 99), st.sampled_from([np.float16, np.float32]))
def test_accuracy_equals_a_loop(seed: int, kind: type) -> None:
    rng = np.random.default_rng(seed)
    features, vectors = unit(rng, 12, 4).astype(kind), unit(rng, 5, 4).astype(kind)
    labels, among = rng.integers(0, 5, 12), [4, 1, 2]
    if not np.isin(labels, among).any():
        return
    right = []
    for feature, label in zip(features.astype(float), labels, strict=True):
        if label in among:
            scores = {c: float(feature @ vectors[c].astype(float)) for c in among}
            right.append(max(scores, key=scores.__getitem__) == label)
    found = accuracy(features, labels, Decision(vectors), among)
    assert found == pytest.approx(100 * sum(right) / len(right))


@given(per_cent, per_cent)
def test_the_harmonic_mean_lies_between_and_nearer_the_lower(base: float, new: float) -> None:
    h = harmonic_mean(base, new)
    assert h == harmonic_mean(new, base)
    assert min(base, new) - 1e-9 <= h <= (base + new) / 2 + 1e-9
    if base > 1 and new > 1:
        assert h == pytest.approx(2 / (1 / base + 1 / new))


def test_nothing_right_is_h_0() -> None:
    assert harmonic_mean(0, 0) == 0
    assert harmonic_mean(50, 0) == 0


def test_seeds_are_averaged_before_h_is_taken() -> None:
    seeds = {
        "1": {"base": 80.0, "new": 60.0, "h": 68.5, "joint": {"base": 50.0, "new": 20.0}},
        "2": {"base": 90.0, "new": 70.0, "h": 78.5, "joint": {"base": 70.0, "new": 40.0}},
    }
    result = over_seeds(seeds)
    assert result["base"] == 85
    assert result["new"] == 65
    assert result["h"] == pytest.approx(2 * 85 * 65 / 150)
    assert result["h_std"] == pytest.approx(10 / math.sqrt(2))  # of a sample, not a population
    assert result["joint"] == {"base": 60, "new": 30, "h": 40}


half = st.fixed_dictionaries({"base": per_cent, "new": per_cent})


@given(st.fixed_dictionaries({"base": per_cent, "new": per_cent, "h": per_cent, "joint": half}))
def test_equal_seeds_do_not_deviate_at_all(result) -> None:
    assert over_seeds({str(seed): result for seed in (1, 2, 3)})["h_std"] == 0
    assert over_seeds({"1": result})["h_std"] == 0


def test_datasets_are_averaged_as_the_field_does() -> None:
    result = over_datasets(
        {
            "a": {"base": 100.0, "new": 50.0, "h": 66.7, "joint": {"base": 80.0, "new": 10.0}},
            "b": {"base": 60.0, "new": 70.0, "h": 64.6, "joint": {"base": 40.0, "new": 50.0}},
        }
    )
    assert result["base"] == 80
    assert result["new"] == 60
    assert result["h"] == pytest.approx(2 * 80 * 60 / 140)
    assert result["h_mean"] == pytest.approx(65.65)
    assert result["joint"] == {"base": 60, "new": 30, "h": 40}


def test_the_published_averages_of_methods() -> None:
    assert harmonic_mean(69.34, 74.22) == pytest.approx(71.70, abs=0.005)
    assert harmonic_mean(84.26, 76.10) == pytest.approx(79.97, abs=0.005)


def test_targets_are_averaged_by_kind() -> None:
    kinds = {"b": "cross-dataset", "c": "shifted", "d": "cross-dataset"}
    seeds = {
        "1": {"a": 80.0, "b": 40.0, "c": 10.0, "d": 60.0},
        "2": {"a": 90.0, "b": 50.0, "c": 10.0, "d": 60.0},
    }
    result = over_targets(seeds, "a", kinds)
    assert result["avg"] == {"source": 85, "cross-dataset": 52.5, "shifted": 10}
    assert result["targets"]["b"] == {"mean": 45, "std": pytest.approx(10 / math.sqrt(2))}
    assert result["targets"]["c"] == {"mean": 10, "std": 0}
    only = over_targets({"1": seeds["1"]}, "a", {"c": "shifted"})
    assert only["avg"] == {"source": 80, "cross-dataset": None, "shifted": 10}
    assert only["targets"]["c"]["std"] == 0
