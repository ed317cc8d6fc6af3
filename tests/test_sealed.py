"""A sealed file is taken as it was written, and with no byte changed."""

from typing import Any

import pytest
from harms import harms
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.system.sealed import DIGEST, sealed_json, unsealed_json

RECORDS = st.dictionaries(
    st.text().filter(lambda key: key != DIGEST),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=9,
    ),
    max_size=4,
)  # fmt: skip


@given(RECORDS)
def test_a_record_reads_back_and_equal_ones_are_equal_bytes(record: dict[str, Any]) -> None:
    data = sealed_json(record)
    assert unsealed_json(data) == record
    assert sealed_json(dict(record)) == data


@given(st.data(), RECORDS)
def test_any_other_byte_bit_or_length_is_refused(drawn: st.DataObject, record: Any) -> None:
    whole = sealed_json(record)
    with pytest.raises(ValueError, match=r"\w"):
        unsealed_json(drawn.draw(harms(whole)))


@given(RECORDS, RECORDS)
def test_a_digest_is_of_its_own_record(one: dict[str, Any], other: dict[str, Any]) -> None:
    if one != other:
        first, second = sealed_json(one), sealed_json(other)
        tail = -len('"' + "0" * 64 + '"\n}\n')
        with pytest.raises(ValueError, match="digest"):
            unsealed_json(first[:tail] + second[tail:])


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"1", b"{", b'{"digest": 1}', b"\xff"])
def test_what_holds_no_digest_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        unsealed_json(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed_json({"accuracy": value})
