"""Features before the last projection are the student's, but for the projection."""

from typing import Any

import numpy as np
import pytest
import torch

from fdbpl.api import load
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.system.errors import UserError


@pytest.fixture(params=["vision transformer", "timm"])
def student(request: pytest.FixtureRequest, clip: ClipModel) -> ClipModel:
    return clip if request.param == "vision transformer" else load("fdbpl-tiny-student", "tiny")


def encoders(clip: ClipModel) -> list[ImageEncoder]:
    return [
        ImageEncoder(clip, precision="fp32", batch_size=4, before_projection=before)
        for before in (False, True)
    ]


def pixels(clip: ClipModel, count: int = 3) -> np.ndarray:
    size = clip.image_size
    return np.random.default_rng(0).standard_normal((count, 3, size, size)).astype(np.float32)


def test_the_projection_makes_of_them_the_features(student: ClipModel) -> None:
    after, before = encoders(student)
    images, projection = pixels(student), last_projection(student).numpy()
    hidden = before.encode(images)
    assert hidden.shape == (3, before.dim) == (3, len(projection))
    np.testing.assert_allclose(np.linalg.norm(hidden, axis=1), 1, atol=1e-6)
    found = hidden @ projection
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found, after.encode(images), atol=1e-5)


def test_the_tower_is_as_it_was(student: ClipModel) -> None:
    after, before = encoders(student)
    images = pixels(student)
    first, weights = after.encode(images), {**student.network.state_dict()}
    before.encode(images)
    np.testing.assert_array_equal(after.encode(images), first)
    assert list(student.network.state_dict()) == list(weights)
    last_projection(student).zero_()  # a copy
    np.testing.assert_array_equal(after.encode(images), first)


def test_only_the_new_features_have_another_fingerprint(student: ClipModel) -> None:
    after, before = (encoder.fingerprint for encoder in encoders(student))
    assert "output" not in after
    assert before == {**after, "output": "before projection"}


def test_a_tower_without_a_plain_projection_is_refused() -> None:
    resnet = load("fdbpl-tiny-teacher", "tiny")
    with pytest.raises(UserError, match=r"before the last projection: a ModifiedResNet.*bias"):
        last_projection(resnet)
    biased = load("fdbpl-tiny-student", "tiny")
    linear: Any = biased.network.get_submodule("visual.head.proj")
    linear.bias = torch.nn.Parameter(torch.zeros(linear.out_features))
    with pytest.raises(UserError, match=r"has a bias.*prolip"):
        ImageEncoder(biased, precision="fp32", batch_size=4, before_projection=True)
