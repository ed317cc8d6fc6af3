"""Encoding: images decoded once for a batch of views, memory bounded, bad input named."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import CROPS, IMAGES, FakeEncoder, Lab
from PIL import Image

from fdbpl.cache import encode
from fdbpl.data.images import UnreadableImage
from fdbpl.system.errors import UserError


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.mark.parametrize("batch", [8, 6, 5, 2])
def test_an_image_is_decoded_once_for_a_batch_of_its_views(lab, monkeypatch, batch: int) -> None:
    plan = replace(lab.plan(), test=np.arange(IMAGES))  # training images are tested on, too
    decoded: Counter = Counter()

    def counting(path, content) -> Image.Image:
        decoded[path] += 1
        return Image.open(path).convert("RGB")

    monkeypatch.setattr(encode, "decode", counting)
    lab.build(plan, FakeEncoder(batch_size=batch))
    views = Counter(plan.regions["image"].tolist()) + Counter(plan.test.tolist())
    assert set(views.values()) == {1, 1 + CROPS}
    for image, path in enumerate(plan.paths):
        assert decoded[lab.folder / path] == -(-views[image] // batch)


def test_batches_are_full_and_few_views_stand_ready_however_many_an_image_has(lab) -> None:
    most = ready = 0

    class Watched(FakeEncoder):
        def pixels(self, image, box, flip) -> np.ndarray:
            nonlocal most, ready
            ready += 1
            most = max(most, ready)
            return super().pixels(image, box, flip)

        def encode(self, pixels: np.ndarray) -> np.ndarray:
            nonlocal ready
            ready -= len(pixels)
            return super().encode(pixels)

    lab.build(encoder=Watched(batch_size=2))
    assert 0 < most <= 2 * (2 + 2 * 2 + 1)  # a batch, what two threads have ahead, one at work
    encoder = FakeEncoder("other", batch_size=7)
    lab.build(encoder=encoder)
    assert encoder.batches == [7] * 6 + [2]


def test_unreadable_and_changed_images_are_named_and_the_rest_is_kept(lab) -> None:
    plan, image = lab.plan(), lab.folder / "10.png"
    content = image.read_bytes()
    lab.build(plan, FakeEncoder("other"))
    before = lab.contents()
    image.write_bytes(content + b"x")
    with pytest.raises(UserError, match=r"10\.png.*prepare-crops again"):
        lab.build(plan)
    image.unlink()
    with pytest.raises(UnreadableImage, match=r"10\.png"):
        lab.build(plan)
    assert lab.contents() == before
    image.write_bytes(content)
    assert lab.build(plan).reused >= 40


@pytest.mark.parametrize("features", [np.full((4, 8), np.nan), np.zeros((4, 7))])
def test_features_that_are_none_never_reach_the_store(lab, features) -> None:
    encoder = FakeEncoder()
    encoder.encode = lambda pixels: features.astype(np.float32)
    with pytest.raises(UserError, match="check its weights"):
        lab.build(encoder=encoder)
    assert not list(lab.root.glob("s/*/*.segment"))
