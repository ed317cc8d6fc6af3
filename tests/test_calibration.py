"""Temperatures and thresholds from held-out logits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.evaluation.calibration import KEPT, Calibration, calibrate, temperature, threshold
from fdbpl.evaluation.logits import logsumexp

seeds = st.integers(0, 9999)


def overconfident(seed: int, count: int = 400, sharp: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits `sharp` times those by whose probabilities the labels were drawn."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.standard_normal((count, 4))
    drawn = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    return (sharp * z).astype(np.float32), drawn


def loss(z: np.ndarray, labels: np.ndarray, t: float) -> float:
    probabilities = Calibration(t, {}).probabilities(z)
    return -float(np.log(probabilities[np.arange(len(z)), labels]).mean())


@settings(max_examples=20)
@given(seed=seeds)
def test_no_other_temperature_makes_the_labels_likelier(seed: int) -> None:
    z, labels = overconfident(seed)
    best = loss(z, labels, temperature(z, labels))
    for t in np.geomspace(1 / 20, 20, 101):
        assert loss(z, labels, t) >= best - 1e-9


@settings(max_examples=20)
@given(seed=seeds, factor=st.floats(0.3, 3))
def test_logits_larger_by_a_factor_have_a_temperature_larger_by_it(seed: int, factor) -> None:
    z, labels = overconfident(seed)
    t = temperature(z, labels)
    assert temperature(factor * z, labels) == pytest.approx(factor * t, rel=1e-3)
    moved = z + np.arange(len(z))[:, None]  # no probability changes
    assert temperature(moved, labels) == pytest.approx(t, rel=1e-3)


def test_the_temperature_by_which_labels_were_drawn_is_found() -> None:
    assert temperature(*overconfident(0, count=20_000)) == pytest.approx(3, rel=0.05)


def test_probabilities_are_the_softmax_of_logits_over_the_temperature() -> None:
    z = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    powers = np.exp(z.astype(float) / 1.7)
    wanted = powers / powers.sum(axis=1, keepdims=True)
    assert np.allclose(Calibration(1.7, {}).probabilities(z), wanted, atol=1e-12)
    large = Calibration(0.05, {}).probabilities(1e4 * z)
    assert np.isfinite(large).all()
    assert np.allclose(large.sum(axis=1), 1)


@pytest.mark.parametrize("kept", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", [20, 200])
def test_of_new_scores_the_share_named_is_kept_on_average(kept: float, count: int) -> None:
    rng = np.random.default_rng(0)
    shares = [
        np.mean(rng.gumbel(size=1000) >= threshold(rng.gumbel(size=count), kept))
        for _ in range(400)
    ]
    if 1 - kept >= 1 / (count + 1):
        assert np.mean(shares) == pytest.approx(kept, abs=0.008)
    else:  # too few to tell: the lowest score of all keeps as many as can be told
        assert np.mean(shares) == pytest.approx(count / (count + 1), abs=0.008)


@settings(max_examples=50)
@given(
    scores=st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    kept=st.lists(st.floats(0.01, 0.999), min_size=2, max_size=2).map(sorted),
)
def test_to_keep_more_the_threshold_falls_and_stays_among_the_scores(scores, kept) -> None:
    less, more = (threshold(np.array(scores), one) for one in kept)
    assert min(scores) <= more <= less <= max(scores)
    assert threshold(np.array(scores[::-1]), kept[0]) == less


def test_one_sample_and_ties() -> None:
    assert threshold(np.array([2.5]), 0.95) == 2.5
    assert {threshold(np.full(9, -1.0), kept) for kept in (0.9, 0.99)} == {-1.0}
    z, labels = np.array([[3.0, 1.0]], np.float32), np.array([0])
    found = calibrate(z, labels)
    assert 1 / 20 <= found.temperature < 1 / 15  # it is right: as sure as allowed
    assert set(found.thresholds.values()) == {float(logsumexp(z)[0])}
    assert 15 < calibrate(z, np.array([1])).temperature <= 20


@settings(max_examples=20)
@given(seed=seeds)
def test_a_calibration_has_each_threshold_and_nothing_depends_on_the_order(seed: int) -> None:
    z, labels = overconfident(seed, count=60)
    found, order = calibrate(z, labels), np.random.default_rng(seed).permutation(60)
    turned = calibrate(z[order], labels[order])
    assert tuple(found.thresholds) == KEPT
    assert turned.thresholds == found.thresholds
    assert turned.temperature == pytest.approx(found.temperature, rel=1e-6)
    for kept, limit in found.thresholds.items():
        assert np.mean(logsumexp(z) >= limit) >= kept / 100 - 1 / 60
