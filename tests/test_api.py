"""The library without a pipeline, as the README shows it."""

import numpy as np
import pytest
from conftest import unit

from fdbpl import api
from fdbpl.errors import UserError

NAMES = ("red star", "blue star", "red moon", "blue moon")


def test_features_and_names_in_prompts_and_accuracies_out() -> None:
    rng = np.random.default_rng(0)
    clip = api.load("fdbpl-tiny-student", "tiny")
    teacher_vectors = unit(rng, 2, 24)
    labels = np.arange(24) % 2
    seen = api.template_vectors(clip, NAMES, "a photo of a {}.")
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
    )
    vectors = api.class_vectors(clip, learned[1].contexts, NAMES)[0]

    assert vectors.shape == seen.shape
    assert api.accuracy(student, labels, vectors, among=[0, 1]) == 100
    assert api.base_to_new(seen, np.arange(4), vectors, [0, 1], [2, 3])["new"] >= 50


def test_a_wrong_model_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no such file, and no pretrained tag"):
        api.load("ViT-B-32", "nowhere.safetensors")
