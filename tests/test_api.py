"""The library without a pipeline, as the README shows it."""

from typing import Any

import numpy as np
import pytest
from conftest import unit
from numpy.typing import NDArray

from fdbpl import api
from fdbpl.clip.model import ClipModel
from fdbpl.errors import UserError
from fdbpl.params import TrainParams
from fdbpl.training.loop import Trained

NAMES = ("red star", "blue star", "red moon", "blue moon")
WORDS = "a photo of a {}."


def test_features_and_names_in_prompts_and_accuracies_out() -> None:
    rng = np.random.default_rng(0)
    clip = api.load("fdbpl-tiny-student", "tiny")
    teacher_vectors = unit(rng, 2, 24)
    labels = np.arange(24) % 2
    seen = api.template_vectors(clip, NAMES, WORDS)
    student = seen[labels] + 0.1 * unit(rng, 24, seen.shape[1])
    teacher = teacher_vectors[labels] + 0.1 * unit(rng, 24, 24)

    learned = api.learn(
        clip,
        NAMES[:2],
        student=student,
        teacher=teacher,
        teacher_vectors=teacher_vectors,
        teacher_scale=20.0,
        labels=labels,
        anchors=seen[:2],
    )
    decision = api.classifier(
        clip,
        learned[1],
        NAMES[:2],
        NAMES,
        api.inference("fdbpl"),
        template=WORDS,
        teacher_vectors=unit(rng, 4, 24),
    )

    assert decision.vectors.shape == seen.shape
    u, v = api.class_vectors(clip, learned[1].contexts, NAMES)
    difference = (u - 0.5 * v) / np.linalg.norm(u - 0.5 * v, axis=1, keepdims=True)
    by_hand = difference + 8 * seen
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(decision.vectors, by_hand, atol=1e-6)
    assert api.accuracy(student, labels, decision, among=[0, 1]) == 100
    assert api.base_to_new(seen, np.arange(4), decision, [0, 1], [2, 3])["new"] >= 50


def test_how_a_method_classifies_follows_its_options() -> None:
    assert api.inference("coop") == api.inference("paper")
    assert api.inference("fdbpl") != api.inference("paper")
    shares = ("template_share", "memory_share", "bridge_share")
    nothing = {"inference": "positive", **dict.fromkeys(shares, 0.0)}
    alone = api.inference("fdbpl", nothing)
    assert alone == api.inference("paper")
    with pytest.raises(UserError, match="'teacher' is not trained"):
        api.inference("teacher")
    with pytest.raises(UserError, match="has no options"):
        api.inference("coop", {"template_share": 1.0})


def test_a_share_of_the_template_needs_the_template() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    one = learned_by(clip, "fdbpl")
    with pytest.raises(UserError, match=r"Pass template="):
        api.classifier(clip, one, NAMES, NAMES, api.inference("fdbpl"))
    u = api.class_vectors(clip, one.contexts, NAMES)[0]
    plain = api.classifier(clip, one, NAMES, NAMES, api.inference("paper"))
    assert np.array_equal(plain.vectors, u)
    assert plain.memory is None
    assert np.array_equal(api.classifier(clip, one, NAMES, NAMES).vectors, u)


def test_the_memory_speaks_of_the_classes_learned_alone() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    one = learned_by(clip, "fdbpl")
    others = (*NAMES[:2], "green star")
    decision = api.classifier(
        clip, one, NAMES, others, api.inference("fdbpl"), "a {}.", teacher_vectors_of(3)
    )
    assert decision.memory is not None
    assert decision.memory.seen.tolist() == [True, True, False]
    assert np.array_equal(decision.memory.discriminant[:2], one.memory[:2])
    assert learned_by(clip, "paper").memory is None


def contexts_of(clip: ClipModel, method: str, **extras: Any) -> NDArray[Any]:
    return learned_by(clip, method, **extras).contexts.numpy()


def teacher_vectors_of(classes: int) -> NDArray[Any]:
    return unit(np.random.default_rng(3), classes, 24)


def learned_by(clip: ClipModel, method: str, **extras: Any) -> Trained:
    """What two steps on eight random regions teach, the same at every call."""
    draws = np.random.default_rng(2)
    if method == "fdbpl":
        extras = {"anchors": api.template_vectors(clip, NAMES, WORDS), **extras}
    learned = api.learn(
        clip,
        NAMES,
        student=unit(draws, 8, clip.network.text_projection.shape[1]),
        teacher=unit(draws, 8, 24),
        teacher_vectors=unit(draws, 4, 24),
        teacher_scale=20.0,
        labels=np.arange(8) % 4,
        method=method,
        params=TrainParams(epochs=2, batch=8, warmup_lr=0.02, lr=0.02),
        **extras,
    )
    return learned[1]


def test_areas_weigh_regions_and_without_them_all_weigh_the_same() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    plain = contexts_of(clip, "fdbpl")
    assert np.array_equal(contexts_of(clip, "fdbpl", areas=np.ones(8)), plain)
    assert not np.array_equal(contexts_of(clip, "fdbpl", areas=np.linspace(0.1, 1, 8)), plain)


def test_kgcoop_needs_anchors_and_so_does_a_bridge() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    for method in ("kgcoop", "fdbpl"):
        with pytest.raises(UserError, match=r"Pass learn\(anchors="):
            contexts_of(clip, method, anchors=None)
    anchors = api.template_vectors(clip, NAMES, WORDS)
    there, opposite = (contexts_of(clip, "kgcoop", anchors=sign * anchors) for sign in (1, -1))
    assert not np.array_equal(there, opposite)


def test_a_wrong_model_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no such file, and no pretrained tag"):
        api.load("ViT-B-32", "nowhere.safetensors")
