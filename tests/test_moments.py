"""Moments and the ridge regression from them, against plain formulas."""

import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.classify.moments import Moments

seeds = st.integers(0, 999)
REGIONS, WIDTH, OTHER = 60, 5, 7
RIDGES = (0.0, 0.3, 10.0)


def pairs_of(rng: np.random.Generator, count: int = REGIONS):
    weights = rng.uniform(0.1, 1, count).astype(np.float32)
    return unit(rng, count, WIDTH), unit(rng, count, OTHER), weights


def plain(student, teacher, weights, ridge):
    """Means, and the weights of the regression, from sums in loops."""
    weights, student, teacher = (one.astype(float) for one in (weights, student, teacher))
    total = weights.sum()
    x = sum(w * a for w, a in zip(weights, student, strict=True)) / total
    y = sum(w * b for w, b in zip(weights, teacher, strict=True)) / total
    within, between = np.zeros((WIDTH, WIDTH)), np.zeros((WIDTH, OTHER))
    for a, b, w in zip(student, teacher, weights, strict=True):
        within += w / total * np.outer(a - x, a - x)
        between += w / total * np.outer(a - x, b - y)
    flat = ridge * np.trace(within) / WIDTH * np.eye(WIDTH)
    return x, y, np.linalg.inv(within + flat) @ between


@given(seeds, st.sampled_from(RIDGES))
def test_the_regression_is_the_weighted_one_about_the_means(seed: int, ridge: float) -> None:
    pairs = pairs_of(np.random.default_rng(seed))
    found, wanted = Moments.of(*pairs), plain(*pairs, ridge)
    for one, other in zip((*found.means(), found.regression(ridge)), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


@given(seeds, st.integers(1, REGIONS - 1))
def test_moments_of_parts_add_up(seed: int, cut: int) -> None:
    pairs = pairs_of(np.random.default_rng(seed))
    head, tail = [one[:cut] for one in pairs], [one[cut:] for one in pairs]
    found = (Moments.of(*head) + Moments.of(*tail)).regression(0.3)
    np.testing.assert_allclose(found, Moments.of(*pairs).regression(0.3), atol=1e-9)


@given(seeds, st.floats(0.1, 10))
def test_scaled_to_others_they_weigh_a_share_of_them(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mine, others = pairs_of(rng), pairs_of(rng, 20)
    one, other = Moments.of(*mine), Moments.of(*others)
    found = one + other.scaled_to(one, share)
    assert found.total == pytest.approx((1 + share) * one.total)
    factor = share * mine[2].sum() / others[2].sum()
    both = [np.concatenate(parts) for parts in zip(mine, others, strict=True)]
    both[2][REGIONS:] *= factor
    wanted = Moments.of(*both)
    np.testing.assert_allclose(found.regression(0.3), wanted.regression(0.3), atol=1e-5)


@given(seeds)
def test_where_features_are_turned_alike_it_turns_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    student = unit(rng, 400, WIDTH).astype(float)
    found = Moments.of(student, student @ turn, np.ones(400)).regression(0.0)
    np.testing.assert_allclose(found, turn, atol=1e-6)
