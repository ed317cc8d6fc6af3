import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.evaluation.confusion import Confusion

NAMES = ("a", "b", "c", "d")
LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(LABELS)
def test_counts_are_those_of_the_pictures(pairs: list[tuple[int, int]]) -> None:
    shown, taken = np.array(pairs).T
    found = Confusion.of_labels(NAMES, shown, taken)
    assert found.accuracy == pytest.approx(100 * np.mean(shown == taken))
    assert found.pictures.tolist() == [int((shown == label).sum()) for label in range(4)]
    weakest = found.weakest(4)
    assert sorted(weakest) == sorted(set(shown.tolist()))
    shares = [100 * np.mean(taken[shown == label] == label) for label in weakest]
    assert [found.found(label) for label in weakest] == pytest.approx(shares)
    assert shares == sorted(shares)
    assert found.weakest(1) == weakest[:1]
    for label in weakest:
        mistaken = found.mistaken(label)
        assert [count for _, count in mistaken] == sorted((n for _, n in mistaken), reverse=True)
        assert sum(n for _, n in mistaken) + found.counts[label, label] == found.pictures[label]


def test_counts_by_names_are_those_by_labels() -> None:
    named = Confusion.of_names(NAMES, {"a": {"a": 2, "c": 1}, "d": {"a": 4}})
    labelled = Confusion.of_labels(
        NAMES, np.array([0] * 3 + [3] * 4), np.array([0, 2, 0] + [0] * 4)
    )
    assert (named.counts == labelled.counts).all()
    with pytest.raises(KeyError):
        Confusion.of_names(NAMES, {"a": {"nobody": 1}})
