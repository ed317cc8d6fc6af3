"""From the class features of the contexts to the vectors that decide."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from conftest import unit
from fdbpl.methods.bridge import Moments, across
from fdbpl.methods.inference import POSITIVE_ONLY, Inference
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.system.errors import UserError

seeds = st.integers(0, 999)
shares = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])


def plain_unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def plain_vectors(u, v, t, negative_share: float, template_share: float) -> list[list[float]]:
    """The direction of e + share * t, e the direction of u - share * v: a class at a time."""
    found = []
    for positive, negative, written in zip(u, v, t, strict=True):
        e = [x - negative_share * y for x, y in zip(positive, negative, strict=True)]
        e = plain_unit(e)
        total = [x + template_share * y for x, y in zip(e, written, strict=True)]
        found.append(plain_unit(total))
    return found


@given(seed=seeds, sides=st.integers(1, 2))
def test_the_positive_side_alone_decides_bit_for_bit_where_shares_are_0(seed, sides) -> None:
    rng = np.random.default_rng(seed)
    stack = unit(rng, sides, 5, 8)
    assert Inference(0.0, 0.0) == POSITIVE_ONLY
    for negative in (unit(rng, 5, 8), np.zeros((5, 8)), np.full((5, 8), np.nan)):
        stack[1:] = negative
        found = POSITIVE_ONLY.classifier(stack, unit(rng, 5, 8))
        assert found.dtype == np.float32
        assert found.tobytes() == stack[0].tobytes()


@given(seed=seeds, negative_share=shares, template_share=shares)
def test_the_vectors_equal_their_formula_and_have_unit_length(
    seed: int, negative_share: float, template_share: float
) -> None:
    rng = np.random.default_rng(seed)
    sides, template = unit(rng, 2, 5, 8), unit(rng, 5, 8)
    found = Inference(negative_share, template_share).classifier(sides, template)
    wanted = plain_vectors(*sides.tolist(), template.tolist(), negative_share, template_share)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)


@given(seed=seeds)
def test_a_class_does_not_depend_on_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides, template, order = unit(rng, 2, 5, 8), unit(rng, 5, 8), rng.permutation(5)
    inference = Inference(0.5, 1.0)
    whole, part = (
        inference.classifier(sides, template)[order],
        inference.classifier(sides[:, order], template[order]),
    )
    assert np.array_equal(whole, part)


def test_only_a_share_of_a_side_lets_it_decide() -> None:
    rng = np.random.default_rng(0)
    sides, template, other = unit(rng, 2, 5, 8), unit(rng, 5, 8), unit(rng, 5, 8)
    exchanged = np.stack([sides[0], other])

    def differ(inference: Inference) -> tuple[bool, bool]:
        found = inference.classifier(sides, template)
        by_side = inference.classifier(exchanged, template)
        by_words = inference.classifier(sides, other)
        return bool(np.any(found != by_side)), bool(np.any(found != by_words))

    assert differ(Inference(0.0, 0.0)) == (False, False)
    assert differ(Inference(0.5, 0.0)) == (True, False)
    assert differ(Inference(0.0, 1.0)) == (False, True)
    assert differ(Inference(0.5, 1.0)) == (True, True)


def test_a_missing_template_is_a_users_mistake() -> None:
    sides = unit(np.random.default_rng(0), 2, 3, 8)
    with pytest.raises(UserError, match=r"a share of 0\.5 of a hand-written prompt.*template="):
        Inference(0.5, 0.5).classifier(sides)
    assert Inference(0.5, 0.0).classifier(sides).shape == (3, 8)


@pytest.mark.parametrize("missing", ["template", "teacher"])
def test_a_bridge_needs_both_models_vectors(missing: str) -> None:
    rng = np.random.default_rng(0)
    bridge = Moments.of(unit(rng, 40, 8), unit(rng, 40, 6), np.ones(40)).bridge()
    given = {"template": unit(rng, 3, 8), "teacher": unit(rng, 3, 6)}
    names, sides = ["a", "b", "c"], unit(rng, 1, 3, 8)
    share = Inference(bridge_share=0.5)
    found = share.decision(sides, 10.0, names, bridge=bridge, **given)
    np.testing.assert_allclose(found.bridged, 0.5 * across(bridge, **by_role(given)), rtol=1e-6)
    elsewhere = share.decision(sides, 10.0, names, bridge=bridge, same_domain=False, **given)
    assert elsewhere.bridged is None
    for plain in (POSITIVE_ONLY.decision(sides, 10.0, names, bridge=bridge),
                  share.decision(sides, 10.0, names, **given)):  # fmt: skip
        assert plain.bridged is None
    with pytest.raises(UserError, match=r"has a bridge.*Pass template=.*teacher_vectors="):
        share.decision(sides, 10.0, names, bridge=bridge, **{**given, missing: None})


def test_of_another_domain_the_memory_knows_nothing_be_its_names_the_same() -> None:
    rng = np.random.default_rng(0)
    names, sides, rows = ["a", "b", "c"], unit(rng, 1, 3, 8), rng.standard_normal((3, 9))
    known = {"memory": rows, "learned_names": names}
    inference = Inference(memory_share=0.5)
    assert inference.decision(sides, 10.0, names, **known).memory is not None
    assert inference.decision(sides, 10.0, names, same_domain=False, **known).memory is None


def test_without_a_context_the_template_alone_decides() -> None:
    rng = np.random.default_rng(0)
    none, template = np.empty((0, 3, 0), np.float32), unit(rng, 3, 8)
    for inference in (Inference(), Inference(template_share=8.0)):
        assert np.array_equal(inference.classifier(none, template), np.float32(template))
        with pytest.raises(UserError, match="hand-written prompt, and none is given"):
            inference.classifier(none)


def by_role(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"student": given["template"], "teacher": given["teacher"]}


def test_it_is_read_back_from_what_a_prompts_file_says() -> None:
    inference = Inference(0.5, 1.0)
    assert Inference(**asdict(inference)) == inference
