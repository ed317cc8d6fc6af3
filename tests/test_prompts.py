"""Methods that learn contexts: from class features to the vectors that decide."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.classify.decision import Decision
from fdbpl.clip.model import ClipModel
from fdbpl.clip.vectors import class_vectors
from fdbpl.methods.method import Classes
from fdbpl.methods.prompts import (
    DEEPER_STD,
    POSITIVE_ONLY,
    SIDES,
    ClosedFormOnly,
    Inference,
    starting_contexts,
    starting_deep_contexts,
)
from fdbpl.methods.registry import find_method
from fdbpl.system.errors import UserError
from fdbpl.training.learning import classes_of

seeds = st.integers(0, 999)
shares = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])
NAMES = ["a", "b", "c"]


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
def test_the_vectors_equal_their_formula(
    seed: int, negative_share: float, template_share: float
) -> None:
    rng = np.random.default_rng(seed)
    sides, template = unit(rng, 2, 5, 8), unit(rng, 5, 8)
    found = Inference(negative_share, template_share).classifier(sides, template)
    wanted = plain_vectors(*sides.tolist(), template.tolist(), negative_share, template_share)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-6)


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


def classes(**changes: Any) -> Classes:
    rng = np.random.default_rng(1)
    known = {"texts": {"template": unit(rng, 3, 8)}, "teacher": unit(rng, 3, 6), "learned": NAMES}
    return Classes(**{"names": NAMES, "scale": 10.0, **known, **changes})


def learned() -> dict[str, np.ndarray]:
    return {"memory": np.random.default_rng(2).standard_normal((3, 9))}


def test_a_memory_decides_where_it_has_a_share_and_was_built() -> None:
    sides, here = unit(np.random.default_rng(0), 1, 3, 8), classes()
    remembering = Inference(memory_share=0.5)
    memory = remembering.decision(sides, learned(), here).parts["memory"]
    np.testing.assert_allclose(memory.rows, np.float32(learned()["memory"]))
    assert memory.unseen == "silent"
    gda = Inference(memory_share=0.5, gda=True).decision(sides, learned(), here)
    assert gda.parts["memory"].unseen == "adds"
    for plain in (
        POSITIVE_ONLY.decision(sides, learned(), here),
        remembering.decision(sides, {}, here),
        remembering.decision(sides, learned(), classes(same_domain=False)),  # be its names the same
    ):
        assert plain.parts == {}


def test_what_is_lacking_to_decide_is_named() -> None:
    sides = unit(np.random.default_rng(0), 2, 3, 8)
    for inference, contexts in ((Inference(0.5, 0.5), sides), (Inference(0.5), [])):
        with pytest.raises(UserError, match=r"'template', and none is given\. Pass template="):
            inference.decision(contexts, {}, classes(texts={}))
    assert Inference(0.5).decision(sides, {}, classes(texts={})).vectors.shape == (3, 8)


def test_without_a_context_the_template_alone_decides() -> None:
    for inference in (Inference(), Inference(template_share=8.0)):
        method = ClosedFormOnly("m", "M", inference=inference)
        assert (method.starts, method.takes_steps, method.learns) == ((), False, False)
        found = method.decision({}, classes())
        assert np.array_equal(found.vectors, np.float32(classes().text("template")))


def test_a_method_decides_by_the_class_features_of_its_contexts(clip: ClipModel) -> None:
    method = find_method("fdbpl_prompts")
    start = starting_contexts(clip, method.starts)
    arrays = {side: one.numpy() for side, one in zip(SIDES, start, strict=True)}
    here = classes_of(clip, NAMES, "a drawing of a {}.")
    u, v = class_vectors(clip, np.stack(list(arrays.values())), NAMES)
    vectors = method.vectors(arrays, here)
    assert list(vectors) == ["positive", "negative"]
    assert np.array_equal(vectors["negative"], v)
    wanted = Decision(method.inference.classifier([u, v], here.text("template")), clip.logit_scale)
    found = method.decision(arrays, here)
    assert np.array_equal(found.vectors, wanted.vectors)
    assert (found.scale, found.sees, found.parts) == (clip.logit_scale, "student", {})
    assert torch.equal(start[0], starting_contexts(clip, find_method("coop").starts)[0])


def test_starts_of_unequal_length_are_refused(clip: ClipModel) -> None:
    with pytest.raises(UserError, match=r"have \[4, 2\] tokens .* wanted equal numbers"):
        starting_contexts(clip, ("a photo of a", "no photo"))


def test_deep_contexts_start_from_their_words_and_a_draw_by_the_seed(clip: ClipModel) -> None:
    words = ("a photo of a", "a photo of no")
    first, second = starting_deep_contexts(clip, words, 9, seed=1)
    for found, wanted in zip((first, second), starting_contexts(clip, words), strict=True):
        assert found.shape == (9, 4, 64)
        assert torch.equal(found[0], wanted)
        assert found[1:].std().item() == pytest.approx(DEEPER_STD, rel=0.1)
        assert abs(found[1:].mean().item()) < 0.1 * DEEPER_STD
    assert not torch.equal(first[1:], second[1:])
    assert torch.equal(first, starting_deep_contexts(clip, words, 9, seed=1)[0])
    assert not torch.equal(first[1], starting_deep_contexts(clip, words, 9, seed=2)[0][1])
    (alone,) = starting_deep_contexts(clip, words[:1], 1, seed=1)
    assert torch.equal(alone, first[:1])
