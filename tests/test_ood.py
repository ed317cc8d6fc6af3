import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.classify.decision import Decision
from fdbpl.classify.discriminant import discriminant, gaussians, values
from fdbpl.evaluation.logits import informativeness, log_softmax
from fdbpl.evaluation.ood import ClassGaussians, Scorer, auroc, ece, fpr95

few = st.lists(st.integers(-4, 4), min_size=1, max_size=30).map(np.array)  # with many ties
seeds = st.integers(0, 99)


@given(few, few)
def test_auroc_counts_pairs(in_dist: np.ndarray, out_dist: np.ndarray) -> None:
    won = [(i > o) + 0.5 * (i == o) for i in in_dist for o in out_dist]
    assert auroc(in_dist, out_dist) == pytest.approx(100 * np.mean(won))


@given(few, few)
def test_fpr95_is_at_the_highest_threshold_that_accepts_enough(
    in_dist: np.ndarray, out_dist: np.ndarray
) -> None:
    enough = [t for t in in_dist if np.sum(in_dist >= t) >= 0.95 * len(in_dist) - 1e-6]
    assert fpr95(in_dist, out_dist) == pytest.approx(100 * np.mean(out_dist >= max(enough)))


@given(few, few)
def test_only_the_order_of_scores_counts(in_dist: np.ndarray, out_dist: np.ndarray) -> None:
    rising = [np.exp(x / 3) + 7 for x in (in_dist, out_dist)]
    assert auroc(*rising) == auroc(in_dist, out_dist)
    assert fpr95(*rising) == fpr95(in_dist, out_dist)


@given(st.integers(0, 50), st.integers(1, 20))
def test_ece_equals_a_loop_over_bins(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(0, 21, 60) / 20, rng.random(60) < 0.5
    gap = 0.0
    for k in range(bins):
        held = (confidence > k / bins) & (confidence <= (k + 1) / bins)
        if k == 0:
            held |= confidence == 0
        if held.any():
            gap += held.sum() * abs(confidence[held].mean() - correct[held].mean())
    if not np.isin(confidence * bins, np.arange(bins + 1)).any():  # on an edge rounding decides
        assert ece(confidence, correct, bins) == pytest.approx(100 * gap / 60)
    assert 0 <= ece(confidence, correct, bins) <= 100


@given(seeds)
def test_informativeness_is_within_0_and_1_and_0_only_for_equal_logits(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(5, 4)) * 30
    assert ((informativeness(logits) >= 0) & (informativeness(logits) <= 1)).all()
    assert informativeness(np.ones((2, 4))) == pytest.approx([0, 0])
    assert np.exp(log_softmax(logits)).sum(axis=1) == pytest.approx(1)


def fitted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, ClassGaussians]:
    x, p = unit(rng, 40, 6), rng.dirichlet(np.ones(3), 40)
    parts = [(x, p, rng.random(40))]
    return discriminant(parts), gaussians(parts)[1], ClassGaussians.fit(*parts[0])


@given(seeds)
def test_half_the_distance_is_the_memorys_log_density_but_for_a_constant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, covariance, found = fitted(rng)
    x = unit(rng, 7, 6)
    shared = (x * np.linalg.solve(covariance, x.T).T).sum(axis=1) / 2  # of all classes alike
    density = values(rows, x).max(axis=1) - shared
    np.testing.assert_allclose(-found.distance(x) / 2, density, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.distance(found.means), 0, atol=1e-6)


def test_each_score_by_hand() -> None:
    rng = np.random.default_rng(0)
    vectors, negative, x = unit(rng, 4, 6), unit(rng, 2, 6), unit(rng, 9, 6)
    gauss, classes = fitted(rng)[2], [3, 1]
    decision = Decision(vectors, 10.0)
    z = 10 * x.astype(np.float64) @ vectors[classes].T
    energy = np.log(np.exp(z).sum(axis=1))
    no = 10 * x.astype(np.float64) @ negative.T
    chosen = np.arange(9), z.argmax(axis=1)
    wanted = {
        "energy": energy,
        "energy_mahalanobis": energy - gauss.distance(x) / 2,
        "no_prompt": (z - no)[chosen],
    }
    found = Scorer(decision, classes, gauss, negative)(x)
    assert list(found) == list(wanted)
    for name, scores in wanted.items():
        np.testing.assert_allclose(found[name], scores, rtol=1e-5, err_msg=name)
    assert list(Scorer(decision, classes)(x)) == ["energy"]
    labels = np.array(classes)[chosen[1]]
    confidence = np.exp(log_softmax(z).max(axis=1))
    right = Scorer(decision, classes).calibration_error(x, labels)
    assert right == pytest.approx(100 * np.mean(1 - confidence), rel=1e-5)
