from hypothesis import given
from hypothesis import strategies as st

from fdbpl.evaluation.mistakes import Judged, surest

JUDGED = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.3, 0.5, 0.7, 0.9])),
    max_size=30,
)


@given(JUDGED, st.integers(0, 5))
def test_mistakes_are_the_surest_and_examples_typical(
    told: list[tuple[int, int, float]], most: int
) -> None:
    judged = [Judged(key, *one) for key, one in enumerate(told)]
    found = surest(iter(judged), most)
    wrong = [one for one in judged if one.taken != one.shown]
    assert found.mistakes == sorted(wrong, key=lambda one: -one.probability)[:most]
    assert set(found.examples) == {one.shown for one in judged}
    for label, example in found.examples.items():
        right = [one for one in judged if one.shown == one.taken == label]
        if right:
            assert example == max(right, key=lambda one: one.probability)  # the first of equals
        else:
            missed = [one for one in judged if one.shown == label]
            assert example == min(missed, key=lambda one: one.probability)
