import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.classify.discriminant import discriminant, values

seeds = st.integers(0, 999)


def samples(seed: int, count: int = 40, width: int = 5, classes: int = 3):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.3), count)
    return unit(rng, count, width), p, rng.uniform(0.1, 1, count)


@given(seeds)
def test_it_equals_its_formula_in_plain_loops(seed: int) -> None:
    x, p, w = samples(seed)
    means, mass = np.zeros((3, 5)), np.zeros(3)
    for n in range(40):
        for c in range(3):
            means[c] += w[n] * p[n, c] * x[n]
            mass[c] += w[n] * p[n, c]
    means /= mass[:, None]
    within = np.zeros((5, 5))
    for n in range(40):
        for c in range(3):
            gap = x[n] - means[c]
            within += w[n] * p[n, c] * np.outer(gap, gap)
    within /= w.sum()
    share = 5 / (5 + 40 - 1)
    inverse = np.linalg.inv((1 - share) * within + share * np.trace(within) / 5 * np.eye(5))
    found = discriminant([(x, p, w)])
    np.testing.assert_allclose(found[:, :-1], means @ inverse, rtol=1e-6, atol=1e-8)
    wanted = [-0.5 * mean @ inverse @ mean for mean in means]
    np.testing.assert_allclose(found[:, -1], wanted, rtol=1e-6)


@given(seeds, st.integers(1, 39))
def test_parts_make_the_whole(seed: int, cut: int) -> None:
    x, p, w = samples(seed)
    parts = [(x[:cut], p[:cut], w[:cut]), (x[cut:], p[cut:], w[cut:])]
    np.testing.assert_allclose(discriminant(parts), discriminant([(x, p, w)]), rtol=1e-9)


@given(seeds)
def test_a_weight_is_a_number_of_copies_but_for_the_shrinkage(seed: int) -> None:
    x, p, _ = samples(seed, count=400)
    one, heavy = np.ones(400), np.full(400, 7.0)
    np.testing.assert_allclose(discriminant([(x, p, heavy)]), discriminant([(x, p, one)]))


@given(seeds)
def test_which_class_is_likeliest_follows_the_densities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(600) % 3
    x = np.eye(3, 6)[labels] + rng.normal(0, 0.2, (600, 6)) * [1, 1, 1, 4, 1, 1]
    found = discriminant([(x, np.eye(3)[labels], np.ones(600))])
    assert (values(found, x).argmax(axis=1) == labels).mean() > 0.95


def test_a_class_without_samples_and_features_without_spread_stay_finite() -> None:
    x = np.ones((4, 2), np.float16)
    p = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert np.isfinite(discriminant([(x, p, np.ones(4))])).all()


def test_values_are_affine_in_the_features() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
    assert values(rows, np.array([[1.0, 1.0], [0.0, 2.0]])) == pytest.approx(
        np.array([[6, -0.5], [7, -1.5]])
    )
