import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.evaluation import statistics
from fdbpl.evaluation.statistics import Interval, paired_bootstrap

RNG = np.random.default_rng(0)


@given(st.floats(-50, 50), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31))
def test_constant_differences_give_a_point(
    value: float, datasets: int, seeds: int, seed: int
) -> None:
    table = np.full((datasets, seeds), value)
    found = paired_bootstrap(table, seed=seed, resamples=50)
    assert found.mean == pytest.approx(value)
    assert found.low == pytest.approx(found.high) == pytest.approx(value)


def test_the_interval_is_the_plain_double_loops() -> None:
    """Every resample draws datasets, then seeds anew for each dataset drawn."""
    table = np.array([[0.0, 1.0], [10.0, 14.0], [-3.0, 2.0]])
    rng = np.random.default_rng(5)
    means = []
    for _ in range(20_000):
        drawn = []
        for dataset in rng.integers(3, size=3):
            drawn += [table[dataset, seed] for seed in rng.integers(2, size=2)]
        means.append(np.mean(drawn))
    found = paired_bootstrap(table, seed=0, resamples=20_000)
    assert found.mean == pytest.approx(table.mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.35)


def test_the_order_of_datasets_and_of_seeds_changes_nothing_at_all() -> None:
    table = RNG.normal(size=(7, 3))
    shuffled = RNG.permuted(table[RNG.permutation(7)], axis=1)
    assert not np.array_equal(table, shuffled)
    assert paired_bootstrap(table, seed=1) == paired_bootstrap(shuffled, seed=1)


def test_a_seed_decides_the_interval() -> None:
    table = RNG.normal(size=(6, 3))
    first, again, other = (paired_bootstrap(table, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.1)


def test_drawing_in_small_parts_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    table = RNG.normal(size=(6, 3))
    whole = paired_bootstrap(table, seed=1)
    monkeypatch.setattr(statistics, "CHUNK", 100)
    parts = paired_bootstrap(table, seed=1)
    assert (whole.low, whole.high) == pytest.approx((parts.low, parts.high), abs=0.1)


def test_the_opposite_differences_mirror_the_interval() -> None:
    table = RNG.normal(1, 1, size=(6, 3))
    ours, theirs = paired_bootstrap(table, seed=3), paired_bootstrap(-table, seed=3)
    assert ours.mean == pytest.approx(-theirs.mean)
    assert (ours.low, ours.high) == pytest.approx((-theirs.high, -theirs.low), abs=0.1)


@pytest.mark.parametrize(("datasets", "least"), [(30, 0.88), (6, 0.78)])
def test_coverage_of_the_mean_of_normal_differences(datasets: int, least: float) -> None:
    """95 % in the limit of many datasets; of six, a percentile interval holds it less often."""
    rng = np.random.default_rng(7)
    held = 0
    for trial in range(300):
        effects = rng.normal(0.5, 1, size=(datasets, 1))
        found = paired_bootstrap(
            effects + rng.normal(0, 1, size=(datasets, 3)), seed=trial, resamples=300
        )
        held += found.low <= 0.5 <= found.high
    assert least <= held / 300 <= 0.995


def test_the_interval_narrows_with_more_datasets() -> None:
    few, many = (paired_bootstrap(RNG.normal(size=(n, 3)), seed=0) for n in (5, 80))
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(
    ("low", "high", "sign"), [(0.1, 2, 1), (-2, -0.1, -1), (-1, 1, 0), (0, 0, 0)]
)
def test_the_sign(low: float, high: float, sign: int) -> None:
    assert Interval(0.0, low, high, pairs=2).sign == sign


@pytest.mark.parametrize("table", [[], [[]], [1.0, 2.0], [[1.0, float("nan")]], [[[1.0]]]])
def test_what_is_no_table_is_refused(table: object) -> None:
    with pytest.raises(ValueError, match="wanted finite"):
        paired_bootstrap(table, seed=0)  # type: ignore[arg-type]


@given(st.floats(-50, 50), st.integers(1, 3), st.integers(1, 3))
def test_one_pair_has_no_interval_and_decides_nothing(
    value: float, datasets: int, seeds: int
) -> None:
    found = paired_bootstrap(np.full((datasets, seeds), value), seed=0, resamples=20)
    assert found.pairs == datasets * seeds
    is_one = found.pairs == 1
    assert str(found).endswith("(one pair: no interval)") is is_one
    assert bool(found.sign) is (not is_one and bool(value))
