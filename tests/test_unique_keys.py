"""A key that stands twice in one mapping is named, and nothing else is read otherwise."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.system.errors import UserError
from fdbpl.unique_keys import load_yaml

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_it_reads_what_yaml_reads(value: object) -> None:
    text = yaml.safe_dump(value)
    assert load_yaml(text, "x") == yaml.safe_load(text)


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=8))
def test_the_first_repeated_key_is_named_with_both_lines(keys: list[str]) -> None:
    text = "top:\n" + "".join(f"  {key}: 1\n" for key in keys)
    repeated = [place for place, key in enumerate(keys) if key in keys[:place]]
    if not repeated:
        load_yaml(text, "x")
        return
    second = repeated[0]
    first = keys.index(keys[second])
    with pytest.raises(UserError) as error:
        load_yaml(text, "params.yaml")
    assert str(error.value) == (
        f"params.yaml, line {second + 2}: key {keys[second]!r} stands in line {first + 2} too, "
        "wanted once. Take one out."
    )


def test_equal_keys_of_different_mappings_and_of_merges_are_no_repeats() -> None:
    text = "b: &b {lr: 1, x: 0}\na: &a\n  <<: *b\n  lr: 2\nc: {d: {<<: *a, lr: 3}}\n1: a\n'1': b\n"
    assert load_yaml(text, "x") == yaml.safe_load(text)
