"""The first difference between two records, whatever they say."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fdbpl.system.difference import difference, short

VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers(), max_size=3)
)
KEYS = st.text("abc", min_size=1, max_size=2)
RECORDS = st.dictionaries(
    KEYS,
    st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8),
    max_size=4,
)


def leaves(record: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The keys that lead to every value which is no mapping."""
    return [
        place
        for key, value in record.items()
        for place in (leaves(value, (*above, key)) if isinstance(value, dict) else [(*above, key)])
    ]


@given(RECORDS, RECORDS)
def test_what_says_as_much_or_more_does_not_differ(wanted: dict, more: dict) -> None:
    assert difference(wanted, wanted) is None
    assert difference({**more, **wanted}, wanted) is None


@given(RECORDS, st.data())
def test_any_changed_value_is_named(wanted: dict, data: st.DataObject) -> None:
    places = leaves(wanted)
    if not places:
        return
    *above, last = data.draw(st.sampled_from(places))
    found = deepcopy(wanted)
    inner = found
    for key in above:
        inner = inner[key]
    before, inner[last] = inner[last], "another, which no value is"
    assert difference(found, wanted) == (".".join([*above, last]), inner[last], before)
    del inner[last]
    assert difference(found, wanted) == (".".join([*above, last]), None, before)


def test_of_lists_as_long_the_place_is_named() -> None:
    assert difference({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}) == ("a.b.1", 2, 3)
    assert difference({"a": [1]}, {"a": [1, 2]}) == ("a", [1], [1, 2])


@given(VALUES)
def test_a_message_shows_no_more_than_a_hundred_characters(value: Any) -> None:
    assert 0 < len(short(value)) <= 100
    assert "\n" not in short(value)
