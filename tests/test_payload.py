from typing import get_args

import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.cache.payload import COLUMNS, STORED, Payload, decode, encode, row_bytes

PAYLOADS = get_args(Payload)
FEATURES = unit(np.random.default_rng(0), 50, 16)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(1e-3, 1e3))
def test_int8_is_off_by_half_a_step_at_most(seed: int, dim: int, size: float) -> None:
    features = (np.random.default_rng(seed).standard_normal((5, dim)) * size).astype(np.float32)
    features[0] = 0
    columns = encode(features, "int8")
    assert columns["feature"].dtype == np.int8
    assert columns["scale"].dtype == np.float32
    error = np.abs(decode(columns) - features)
    assert (error <= np.abs(features).max(axis=1, keepdims=True) / 254 * 1.001).all()
    assert (np.abs(columns["feature"][1:]).max(axis=1) == 127).all()


@pytest.mark.parametrize("payload", ["float32", "float16"])
def test_floats_are_kept_as_they_are_stored(payload: Payload) -> None:
    stored = FEATURES.astype(STORED[payload])
    assert stored.dtype == payload
    found = decode(encode(stored, payload))
    assert found.dtype == payload
    assert (found == stored).all()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_rows_have_all_columns_and_bytes_are_as_said(payload: Payload) -> None:
    some, none = (encode(rows, payload) for rows in (FEATURES, FEATURES[:0]))
    assert tuple(some) == COLUMNS[payload]
    assert {key: (v.dtype, v.shape[1:]) for key, v in some.items()} == {
        key: (v.dtype, v.shape[1:]) for key, v in none.items()
    }
    assert len(decode(none)) == 0
    assert sum(v.nbytes for v in some.values()) == row_bytes(payload, 16) * len(FEATURES)
