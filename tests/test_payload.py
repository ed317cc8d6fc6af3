from collections.abc import Mapping

import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from fdbpl.cache.payload import (
    FLOAT16,
    FLOAT32,
    ClassList,
    Int8,
    Logits,
    Payload,
    TopLogits,
    make_payload,
    payload_of,
    similarities,
)
from fdbpl.errors import UserError
from fdbpl.evaluation.rejection import log_softmax
from fdbpl.payload_names import of_role, require_known

SCALE = 40.0
NAMES = tuple(f"class {i}" for i in range(12))
LEARNED = (0, 2, 3, 5, 7, 8, 11)
CLASSES = ClassList(NAMES, "a photo of a {}.", LEARNED, "own", SCALE)
RNG = np.random.default_rng(0)
FEATURES = unit(RNG, 50, 16).astype(np.float16)
VECTORS = unit(RNG, 12, 16)
ALL: Mapping[str, Payload] = {
    name: make_payload(name, CLASSES)
    for name in ("float32", "float16", "int8", "logits", "top1", "top3", "top7", "top99")
}


def decoded(payload: Payload, features: np.ndarray = FEATURES) -> np.ndarray:
    return payload.decode(payload.encode(features, VECTORS))


def log_p(payload: Payload, features: np.ndarray = FEATURES) -> np.ndarray:
    """Log-probabilities over the learned classes, as every reader takes them."""
    vectors = payload.vectors(VECTORS)[list(LEARNED)]
    return log_softmax(SCALE * decoded(payload, features).astype(np.float64) @ vectors.T)


PLAIN = log_softmax(SCALE * FEATURES.astype(np.float64) @ VECTORS[list(LEARNED)].T.astype(float))


@pytest.mark.parametrize("name", ["float16", "logits", "top7", "top99"])
def test_log_probabilities_are_those_of_the_features(name: str) -> None:
    assert np.abs(log_p(ALL[name]) - PLAIN).max() < 1e-5  # float32's rounding of 40 x cosine


@pytest.mark.parametrize("k", [1, 3, 6])
def test_top_k_is_exact_for_what_it_keeps_and_even_in_the_rest(k: int) -> None:
    found = log_p(make_payload(f"top{k}", CLASSES))
    order = np.argsort(-PLAIN, axis=1, kind="stable")
    for row, best in enumerate(order):
        kept, rest = best[:k], best[k:]
        assert np.abs(found[row, kept] - PLAIN[row, kept]).max() < 1e-5
        even = np.log(np.exp(PLAIN[row, rest]).sum() / len(rest))
        assert np.abs(found[row, rest] - even).max() < 1e-4
        assert np.isclose(np.exp(found[row]).sum(), 1)


def test_top_k_leaves_a_kl_without_the_tails_error() -> None:
    """Cut off, the tail's mass would go to the classes kept; spread, only its shape is lost."""
    student = log_softmax(RNG.standard_normal(PLAIN.shape))

    def error(teacher: np.ndarray) -> float:
        kl, exact = (
            (np.exp(p) * (np.where(p > -50, p, 0) - student)).sum(1) for p in (teacher, PLAIN)
        )
        return float(np.abs(kl - exact).mean())

    third = np.sort(PLAIN, axis=1)[:, -3:-2]
    cut = np.where(third > PLAIN, -1e3, PLAIN)
    assert error(log_p(make_payload("top3", CLASSES))) < error(log_softmax(cut)) / 3


def test_classes_that_are_not_learned_are_kept_in_full_of_tests_alone() -> None:
    top = make_payload("top3", CLASSES)
    others = [label for label in range(len(NAMES)) if label not in LEARNED]
    assert (decoded(top)[:, others] == 0).all()
    assert (decoded(top.of_tests) == decoded(ALL["logits"])).all()
    for name in ("float32", "float16", "int8", "logits"):
        assert ALL[name].of_tests == ALL[name]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(1e-3, 1e3))
def test_int8_is_off_by_half_a_step_at_most(seed: int, dim: int, size: float) -> None:
    features = (np.random.default_rng(seed).standard_normal((5, dim)) * size).astype(np.float32)
    features[0] = 0
    columns = Int8().encode(features, None)
    assert columns["feature"].dtype == np.int8
    assert columns["scale"].dtype == np.float32
    error = np.abs(Int8().decode(columns) - features)
    assert (error <= np.abs(features).max(axis=1, keepdims=True) / 254 * 1.001).all()
    assert (np.abs(columns["feature"][1:]).max(axis=1) == 127).all()


def test_floats_are_kept_as_they_are() -> None:
    exact = unit(RNG, 4, 16)
    assert (decoded(FLOAT32, exact) == exact).all()
    assert (decoded(FLOAT16, exact) == exact.astype(np.float16)).all()
    assert FLOAT32.stored == "float32"
    assert {one.stored for name, one in ALL.items() if name != "float32"} == {"float16"}


@pytest.mark.parametrize("name", ALL)
def test_a_payload_is_known_again_by_its_fields(name: str) -> None:
    payload = ALL[name]
    assert payload.fields["name"] == name
    again = payload_of(payload.fields)
    assert again.fields == payload.fields
    columns = payload.encode(FEATURES, VECTORS)
    assert (again.decode(columns) == payload.decode(columns)).all()
    assert (again.vectors(VECTORS) == payload.vectors(VECTORS)).all()


@pytest.mark.parametrize("name", ALL)
def test_row_bytes_are_those_of_the_columns(name: str) -> None:
    columns = ALL[name].encode(FEATURES, VECTORS)
    size = sum(values.nbytes for values in columns.values())
    assert size == ALL[name].row_bytes(FEATURES.shape[1]) * len(FEATURES)


@pytest.mark.parametrize("name", ALL)
def test_no_rows_have_all_columns(name: str) -> None:
    some, none = (ALL[name].encode(rows, VECTORS) for rows in (FEATURES, FEATURES[:0]))
    assert {key: (v.dtype, v.shape[1:]) for key, v in some.items()} == {
        key: (v.dtype, v.shape[1:]) for key, v in none.items()
    }
    assert len(ALL[name].decode(none)) == 0


@pytest.mark.parametrize("dim", [3, 64, 200])
def test_similarities_are_the_same_bits_in_any_company(dim: int) -> None:
    features, vectors = unit(RNG, 700, dim), unit(RNG, 33, dim)
    whole = similarities(features, vectors)
    assert np.abs(whole - features @ vectors.T).max() < 1e-6
    for start, stop in ((0, 1), (5, 300), (699, 700)):
        assert (similarities(features[start:stop], vectors) == whole[start:stop]).all()
    with threadpool_limits(2):
        assert (similarities(features, vectors) == whole).all()


def test_logits_without_class_vectors_are_an_error() -> None:
    for payload in (Logits(CLASSES), TopLogits(CLASSES, count=2)):
        with pytest.raises(ValueError, match="needs the text 'template'"):
            payload.encode(FEATURES, None)
    with pytest.raises(ValueError, match="needs a class list"):
        make_payload("logits")


@pytest.mark.parametrize(
    "name", ["", "int4", "top", "top0", "top-3", "topmost", "float16 ", "Top3"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="int8, logits, or top and a number"):
        require_known(name)


@pytest.mark.parametrize(
    "fields",
    [{}, {"name": 3}, {"name": "int4"}, {"name": "logits"}, {"name": "top3", "classes": 3}],
)
def test_fields_of_no_payload_are_refused(fields: dict) -> None:
    with pytest.raises(UserError, match=r"none that this fdbpl reads.*build the cache again"):
        payload_of(fields)


def test_the_student_keeps_features() -> None:
    assert [of_role(name, "student") for name in ("int8", "logits", "top3")] == [
        "int8",
        "float16",
        "float16",
    ]
    assert of_role("top3", "teacher") == "top3"
