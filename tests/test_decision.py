import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.methods.decision import Decision, Memory, SideBySide

seeds = st.integers(0, 999)
NAMES = ["ant", "bee", "crow", "bee", "duck"]


def remembering(rng: np.random.Generator, learned: list[str], share: float = 0.5) -> Memory:
    return Memory.over(rng.standard_normal((len(learned), 5)), learned, NAMES, share)


@given(seeds)
def test_among_seen_classes_the_memory_adds_its_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, features = unit(rng, 5, 4), unit(rng, 6, 4)
    rows = rng.standard_normal((3, 5))
    memory = Memory.over(rows, ["crow", "ant", "bee"], NAMES, 0.25)
    found = Decision(vectors, 10.0, memory).logits(features, [1, 0, 2])
    for n, f in enumerate(features):
        for k, (label, row) in enumerate([(1, 2), (0, 1), (2, 0)]):
            wanted = 10 * f @ vectors[label] + 0.25 * (rows[row, :4] @ f + rows[row, 4])
            assert abs(found[n, k] - wanted) < 1e-5


@given(seeds, st.sets(st.integers(0, 4), min_size=1))
def test_one_class_never_seen_silences_the_memory(seed: int, among: set[int]) -> None:
    rng = np.random.default_rng(seed)
    vectors, features = unit(rng, 5, 4), unit(rng, 6, 4)
    memory = remembering(rng, ["ant", "bee", "crow"])
    plain = Decision(vectors, 10.0).logits(features, sorted(among))
    found = Decision(vectors, 10.0, memory).logits(features, sorted(among))
    assert np.array_equal(plain, found) == bool(among & {3, 4})  # the second bee, the duck


@given(seeds)
def test_a_memory_that_always_speaks_adds_nothing_to_classes_never_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, features, rows = unit(rng, 5, 4), unit(rng, 6, 4), rng.standard_normal((2, 5))
    memory = Memory.over(rows, ["ant", "crow"], NAMES, 0.5, always=True)
    plain = Decision(vectors, 10.0).logits(features, range(5))
    found = Decision(vectors, 10.0, memory).logits(features, range(5))
    assert found[:, [1, 3, 4]] == pytest.approx(plain[:, [1, 3, 4]])
    switched = Decision(vectors, 10.0, Memory.over(rows, ["ant", "crow"], NAMES, 0.5))
    assert found[:, [0, 2]] == pytest.approx(switched.logits(features, [0, 2]))


@given(seeds)
def test_side_by_side_each_says_what_it_says_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, features, known = unit(rng, 5, 4), unit(rng, 6, 4), np.array([1, 4])
    weights = rng.standard_normal((2, 4))
    template = Decision(vectors, 10.0)
    found = SideBySide(lambda f: f @ weights.T, known, template).logits(features, [4, 0, 1])
    assert found[:, [2, 0]] == pytest.approx(features @ weights.T)
    assert found[:, [1]] == pytest.approx(template.logits(features, [0]), abs=1e-5)


def test_classes_of_one_name_are_told_by_their_order() -> None:
    rng = np.random.default_rng(0)
    memory = remembering(rng, ["bee", "bee"])
    assert memory.seen.tolist() == [False, True, False, True, False]
    assert not np.array_equal(memory.discriminant[1], memory.discriminant[3])


@given(seeds)
def test_a_share_of_nothing_is_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, features = unit(rng, 5, 4), unit(rng, 6, 4)
    memory = remembering(rng, NAMES, share=0.0)
    plain = Decision(vectors).logits(features, range(5))
    assert np.array_equal(Decision(vectors, memory=memory).logits(features, range(5)), plain)


@given(seeds)
def test_a_bridge_adds_to_the_cosines_whatever_was_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, features, rows = unit(rng, 5, 4), unit(rng, 6, 4), rng.standard_normal((5, 5))
    for memory in (None, remembering(rng, ["ant", "crow"])):
        plain = Decision(vectors, 10.0, memory).logits(features, [0, 2, 4])
        found = Decision(vectors, 10.0, memory, rows).logits(features, [0, 2, 4])
        for n, f in enumerate(features):
            for k, label in enumerate([0, 2, 4]):
                wanted = plain[n, k] + 10 * (rows[label, :4] @ f + rows[label, 4])
                assert abs(found[n, k] - wanted) < 1e-5
