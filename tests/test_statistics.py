import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ttest_1samp

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import Interval, linearised_h, t_interval

RNG = np.random.default_rng(0)
ACCURACIES = st.integers(1, 12).flatmap(lambda n: arrays(float, (4, n), elements=st.floats(0, 100)))
"""Base and new accuracies (4, D) of two methods on D datasets."""


@pytest.mark.parametrize("units", [2, 5, 6, 40])
def test_the_interval_is_students(units: int) -> None:
    values = RNG.normal(1, 3, units)
    found = t_interval(values)
    wanted = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.mean == pytest.approx(values.mean())
    assert found.units == units


def test_the_sign_is_that_of_a_t_test() -> None:
    for _ in range(200):
        values = RNG.normal(RNG.normal(), 1, 5)
        test = ttest_1samp(values, 0)
        assert t_interval(values).sign == (np.sign(values.mean()) if test.pvalue < 0.05 else 0)


def test_the_order_changes_nothing_at_all() -> None:
    values = RNG.normal(size=9)
    assert t_interval(values) == t_interval(RNG.permutation(values))


@given(st.floats(-50, 50), st.integers(2, 12))
def test_a_constant_gap_has_no_width(value: float, units: int) -> None:
    found = t_interval(np.full(units, value))
    assert (found.mean, found.low, found.high) == pytest.approx((value, value, value))


def test_one_unit_has_no_interval_and_decides_nothing() -> None:
    found = t_interval([3.5])
    assert (str(found), found.sign) == ("+3.50 (one dataset: no interval)", 0)
    assert Interval(-1e-9, -2.0, 1.0, 2).sign == 0
    assert str(Interval(-1e-9, -2.0, 1.0, 2)) == "+0.00 (-2.00 to +1.00)"


@pytest.mark.parametrize("values", [[], 1.0, [[1.0, 2.0]], [1.0, float("nan")]])
def test_what_is_no_list_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match="wanted finite"):
        t_interval(values)  # type: ignore[arg-type]


@given(ACCURACIES)
@example(np.array([[5e-324, 0.0], *[[0.0, 0.0]] * 3]))  # whose average is 0
def test_the_centre_is_the_difference_of_the_h_of_averages(table: np.ndarray) -> None:
    ours, theirs = linearised_h(*table[:2]), linearised_h(*table[2:])
    averages = [float(half.mean()) for half in table]
    gap = harmonic_mean(*averages[:2]) - harmonic_mean(*averages[2:])
    assert t_interval(ours - theirs).mean == pytest.approx(gap, abs=1e-9)


@given(ACCURACIES, st.randoms(use_true_random=False))
def test_linearised_values_go_with_their_datasets(table: np.ndarray, random: object) -> None:
    order = list(range(table.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = linearised_h(table[0], table[1])[order]
    assert linearised_h(table[0, order], table[1, order]) == pytest.approx(found, abs=1e-9)


def test_the_slopes_are_those_of_h() -> None:
    base, new = RNG.uniform(30, 90, (2, 6))
    averages, step = [base.mean(), new.mean()], 1e-5
    values = linearised_h(base, new) - harmonic_mean(*averages)
    for moved in ([step, 0], [0, step]):
        slope = (harmonic_mean(*np.add(averages, moved)) - harmonic_mean(*averages)) / step
        deviations = (base if moved[0] else new) - averages[0 if moved[0] else 1]
        values = values - slope * deviations
    assert values == pytest.approx(0, abs=1e-3)


def test_where_base_equals_new_it_is_their_mean() -> None:
    values = RNG.uniform(30, 90, 6)
    assert linearised_h(values, values) == pytest.approx(values)
