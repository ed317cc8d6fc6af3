"""The map from the student's features to the teacher's, against plain formulas."""

import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.classify.bridge import NAMES, RIDGE, HeldOut, Moments, across, held_out

seeds = st.integers(0, 999)
REGIONS, WIDTH, OTHER, CLASSES = 60, 5, 7, 6


def pairs_of(rng: np.random.Generator, count: int = REGIONS):
    weights = rng.uniform(0.1, 1, count).astype(np.float32)
    return unit(rng, count, WIDTH), unit(rng, count, OTHER), weights


def covariances(student, teacher, weights):
    """Means and covariances in loops."""
    weights, student, teacher = (one.astype(float) for one in (weights, student, teacher))
    total = weights.sum()
    x = sum(w * a for w, a in zip(weights, student, strict=True)) / total
    y = sum(w * b for w, b in zip(weights, teacher, strict=True)) / total
    within, between = np.zeros((WIDTH, WIDTH)), np.zeros((WIDTH, OTHER))
    for a, b, w in zip(student, teacher, weights, strict=True):
        within += w / total * np.outer(a - x, a - x)
        between += w / total * np.outer(a - x, b - y)
    return x, within, between


@given(seeds)
def test_a_bridge_is_mean_and_covariances_over_the_variance(seed: int) -> None:
    pairs = pairs_of(np.random.default_rng(seed))
    mean, within, between = covariances(*pairs)
    variance = np.trace(within)
    wanted = np.hstack([mean[:, None], within / variance, between / variance])
    np.testing.assert_allclose(Moments.of(*pairs).bridge(), wanted, atol=1e-9)


@given(seeds, st.integers(1, REGIONS - 1))
def test_moments_of_parts_add_up(seed: int, cut: int) -> None:
    pairs = pairs_of(np.random.default_rng(seed))
    head, tail = [one[:cut] for one in pairs], [one[cut:] for one in pairs]
    found = (Moments.of(*head) + Moments.of(*tail)).bridge()
    np.testing.assert_allclose(found, Moments.of(*pairs).bridge(), atol=1e-12)


@given(seeds)
def test_what_crosses_equals_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = pairs_of(rng)
    u, t = (unit(rng, CLASSES, width).astype(float) for width in (WIDTH, OTHER))
    mean, within, between = covariances(*pairs)
    variance = np.trace(within)
    u0, t0 = u - u.mean(0), t - t.mean(0)
    trace = np.trace(u0.T @ u0)
    left = within / variance + NAMES * u0.T @ u0 / trace + RIDGE * np.eye(WIDTH) / WIDTH
    mapped = np.linalg.inv(left) @ (between / variance + NAMES * u0.T @ t0 / trace)
    weights = t0 @ mapped.T
    found = across(Moments.of(*pairs).bridge(), u, t)
    ratio = found[0, 0] / weights[0, 0]
    np.testing.assert_allclose(found[:, :-1], ratio * weights, rtol=1e-6, atol=1e-9)
    # at the mean region it says nothing, and it varies over regions as the own vectors do
    np.testing.assert_allclose(found[:, :-1] @ mean + found[:, -1], 0, atol=1e-9)
    spreads = [np.trace(v @ within @ v.T) for v in (found[:, :-1], u0)]
    assert spreads[0] == pytest.approx(spreads[1])


@given(seeds)
def test_where_names_and_features_are_turned_alike_it_turns_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    student, u = unit(rng, 400, WIDTH).astype(float), unit(rng, CLASSES, WIDTH).astype(float)
    rows = across(Moments.of(student, student @ turn, np.ones(400)).bridge(), u, u @ turn)
    own = u - u.mean(0)
    alike = np.sum(rows[:, :-1] * own) / np.linalg.norm(rows[:, :-1]) / np.linalg.norm(own)
    assert alike > 0.95


def known_of(rng: np.random.Generator, told: np.ndarray, parts: int = 1):
    pairs = pairs_of(rng)
    known = HeldOut(CLASSES, seed=3)
    for rows in np.array_split(np.arange(REGIONS), parts):
        known.add(tuple(one[rows] for one in pairs), told[rows])
    return pairs, known


@given(seeds, st.integers(1, 4))
def test_what_is_held_out_takes_no_part(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    told = rng.integers(0, CLASSES, REGIONS)
    pairs, known = known_of(rng, told, parts)
    np.testing.assert_allclose(known.whole().bridge(), Moments.of(*pairs).bridge(), atol=1e-12)
    times = np.zeros(CLASSES)
    for held, rest in known.trials():
        assert held.sum() == CLASSES / 2
        times += held
        others = ~held[told]
        wanted = Moments.of(*(one[others] for one in pairs)).bridge()
        np.testing.assert_allclose(rest.bridge(), wanted, atol=1e-12)
    assert (times == 3).all()  # each split holds every class out once


@given(seeds)
def test_held_out_counts_what_a_plain_loop_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    told = rng.integers(0, CLASSES, REGIONS)
    pairs, known = known_of(rng, told)
    u, t = unit(rng, CLASSES, WIDTH), unit(rng, CLASSES, OTHER)
    right, total = [0.0, 0.0], 0.0
    for held, rest in known.trials():
        rows = across(rest.bridge(), u, t)
        for x, weight, label in zip(pairs[0], pairs[2], told, strict=True):
            if not held[label]:
                continue
            classes = np.flatnonzero(held)
            plain = [float(x.astype(float) @ u[c]) for c in classes]
            other = [
                a + 0.5 * (rows[c, :-1] @ x + rows[c, -1])
                for a, c in zip(plain, classes, strict=True)
            ]
            total += weight
            for side, scores in enumerate((plain, other)):
                right[side] += weight * (classes[int(np.argmax(scores))] == label)
    halves = [(tuple(one[:25] for one in pairs), told[:25]),
              (tuple(one[25:] for one in pairs), told[25:])]  # fmt: skip
    found = held_out(known, halves, u, t, 0.5)
    assert found == pytest.approx((right[0] / total, right[1] / total))


def test_one_class_can_not_be_held_out() -> None:
    rng = np.random.default_rng(0)
    known = HeldOut(1, seed=0)
    pairs, told = pairs_of(rng), np.zeros(REGIONS, np.int64)
    known.add(pairs, told)
    assert list(known.trials()) == []
    u, t = unit(rng, 1, WIDTH), unit(rng, 1, OTHER)
    assert held_out(known, [(pairs, told)], u, t, 0.5) == (0, 0)
