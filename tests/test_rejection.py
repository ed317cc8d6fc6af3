import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.evaluation.rejection import (
    WEIGHTS,
    Pair,
    Scorer,
    auroc,
    combined,
    ece,
    fpr_at_tpr,
    log_softmax,
    scores,
    sureness,
)
from fdbpl.methods.decision import Decision

few = st.lists(st.integers(-4, 4), min_size=1, max_size=30).map(np.array)  # with many ties
rates = st.sampled_from([0.05, 0.5, 0.8, 0.95, 1.0])


@given(few, few)
def test_auroc_counts_pairs(inside: np.ndarray, outside: np.ndarray) -> None:
    won = [(i > o) + 0.5 * (i == o) for i in inside for o in outside]
    assert auroc(inside, outside) == pytest.approx(100 * np.mean(won))


@given(few, few, rates)
def test_fpr_is_that_of_the_highest_threshold_that_lets_enough_insiders_pass(
    inside: np.ndarray, outside: np.ndarray, tpr: float
) -> None:
    enough = [t for t in inside if np.sum(inside >= t) >= tpr * len(inside) - 1e-6]
    wanted = 100 * np.mean(outside >= max(enough))
    assert fpr_at_tpr(inside, outside, tpr) == pytest.approx(wanted)


@given(few, few, rates)
def test_only_the_order_of_scores_counts(
    inside: np.ndarray, outside: np.ndarray, tpr: float
) -> None:
    def rising(x: np.ndarray) -> np.ndarray:
        return np.exp(x / 3) + 7

    assert auroc(rising(inside), rising(outside)) == auroc(inside, outside)
    assert fpr_at_tpr(rising(inside), rising(outside), tpr) == fpr_at_tpr(inside, outside, tpr)


@given(few, few)
def test_auroc_of_exchanged_sides_adds_up(inside: np.ndarray, outside: np.ndarray) -> None:
    assert auroc(inside, outside) + auroc(outside, inside) == pytest.approx(100)
    assert auroc(inside, inside) == pytest.approx(50)


def test_sides_apart() -> None:
    high, low = np.arange(20) + 100.0, np.arange(20.0)
    assert (auroc(high, low), fpr_at_tpr(high, low)) == (100, 0)
    assert (auroc(low, high), fpr_at_tpr(low, high)) == (0, 100)


def test_ece_is_small_where_confidence_is_the_share_of_right_answers() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.1, 1, 200_000)
    assert ece(confidence, rng.random(len(confidence)) < confidence) < 0.5


@pytest.mark.parametrize(("confidence", "right"), [(0.9, 60), (0.55, 80), (1.0, 0)])
def test_ece_of_one_confidence_is_the_gap(confidence: float, right: int) -> None:
    correct = np.arange(100) < right
    found = ece(np.full(100, confidence), correct)
    assert found == pytest.approx(abs(100 * confidence - right))


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


def test_scores_by_hand() -> None:
    decision = np.log([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    positive = np.log([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
    negative = np.log([[0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]])
    written = np.log([[1.0, 2.0, 3.0], [0.1, 0.1, 0.3]])
    found = scores(decision, Pair(positive, negative, written))
    assert found["max_softmax"] == pytest.approx([0.7, 0.4])
    assert found["max_logit"] == pytest.approx(np.log([0.7, 0.4]))
    assert found["energy"] == pytest.approx([0, 0], abs=1e-12)
    assert found["difference"] == pytest.approx([np.log(0.5 / 0.2), np.log(0.1 * 3)])
    assert found["negative_entropy"][1] == pytest.approx(0, abs=1e-12)
    assert found["negative_entropy"][0] > 0
    assert found["written_energy"] == pytest.approx(np.log([6, 0.5]))
    assert set(scores(decision)) == {"max_softmax", "max_logit", "energy"}


@given(st.integers(0, 99))
def test_sureness_is_within_0_and_1_and_0_only_for_equal_logits(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(5, 4)) * 30
    assert ((sureness(logits) >= 0) & (sureness(logits) <= 1)).all()
    assert sureness(np.ones((2, 4))) == pytest.approx([0, 0])
    assert np.exp(log_softmax(logits)).sum(axis=1) == pytest.approx(1)


def test_combined_is_in_deviations_from_what_was_learned_from() -> None:
    reference = {"energy": np.array([1.0, 3.0]), "difference": np.array([10.0, 30.0])}
    found = {"energy": np.array([2.0, 4.0]), "difference": np.array([20.0, 20.0])}
    weights = {"energy": 0.5, "difference": 2.0}
    assert combined(found, reference, weights) == pytest.approx([0, 1])


def test_the_weights_add_up_to_one() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_a_scorer_without_a_negative_context_has_no_score_of_two() -> None:
    rng = np.random.default_rng(0)
    learned, features = unit(rng, 9, 6), unit(rng, 4, 6).astype(np.float16)
    decision, *sides = unit(rng, 4, 3, 6)
    decide = Decision(decision, 10.0)
    one, two = (Scorer(decide, range(3), pair, learned) for pair in (None, Pair(*sides)))
    assert set(two(features)) - set(one(features)) == {
        "difference",
        "negative_entropy",
        "written_energy",
        "combined",
    }
    for name, values in one(features).items():
        assert np.array_equal(values, two(features)[name])
    assert two(learned)["combined"].mean() == pytest.approx(0, abs=1e-9)
