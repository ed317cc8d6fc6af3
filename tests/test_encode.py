"""Encoding: images decoded once for a batch of views, memory bounded, bad input named."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import CROPS, IMAGES, FakeEncoder, build, contents, draw_images, make_plan
from PIL import Image

from fdbpl.cache import encode
from fdbpl.cache.store import RegionStore
from fdbpl.data.images import UnreadableImage
from fdbpl.system.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw_images(tmp_path / "images")
    return tmp_path / "images"


@pytest.mark.parametrize("batch", [8, 6, 5, 2])
def test_an_image_is_decoded_once_for_a_batch_of_its_views(
    tmp_path, folder, monkeypatch, batch: int
) -> None:
    plan = make_plan(folder)
    plan = replace(plan, test=np.arange(IMAGES))  # training images are tested on, too
    decoded: Counter = Counter()

    def counting(path, content) -> Image.Image:
        decoded[path] += 1
        return Image.open(path).convert("RGB")

    monkeypatch.setattr(encode, "decode", counting)
    encoder = FakeEncoder(batch_size=batch)
    build(plan, folder, encoder, RegionStore(tmp_path / "s"), tmp_path / "c")
    views = Counter(plan.regions["image"].tolist()) + Counter(plan.test.tolist())
    assert set(views.values()) == {1, 1 + CROPS}
    for image, path in enumerate(plan.paths):
        assert decoded[folder / path] == -(-views[image] // batch)


def test_what_stands_ready_is_bounded_however_many_views_an_image_has(
    tmp_path, folder, monkeypatch
) -> None:
    plan = make_plan(folder)
    most = 0

    class Watched(FakeEncoder):
        def pixels(self, image, box, flip) -> np.ndarray:
            nonlocal most
            ready[0] += 1
            most = max(most, ready[0])
            return super().pixels(image, box, flip)

        def encode(self, pixels: np.ndarray) -> np.ndarray:
            ready[0] -= len(pixels)
            return super().encode(pixels)

    ready = [0]
    build(plan, folder, Watched(batch_size=2), RegionStore(tmp_path / "s"), tmp_path / "c")
    assert 0 < most <= 2 * (2 + 2 * 2 + 1)  # a batch, what two threads have ahead, one at work


def test_batches_never_exceed_the_encoders_size(tmp_path, folder) -> None:
    encoder = FakeEncoder(batch_size=7)
    build(make_plan(folder), folder, encoder, RegionStore(tmp_path / "s"), tmp_path / "c")
    assert encoder.batches == [7] * 6 + [2]


def test_unreadable_and_changed_images_are_named_and_the_rest_is_kept(tmp_path, folder) -> None:
    plan = make_plan(folder)
    content = (folder / "10.png").read_bytes()
    build(plan, folder, FakeEncoder("other"), RegionStore(tmp_path / "s"), tmp_path / "c")
    before = contents(tmp_path / "c")
    (folder / "10.png").write_bytes(content + b"x")
    with pytest.raises(UserError, match=r"10\.png.*prepare-crops again"):
        build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    (folder / "10.png").unlink()
    with pytest.raises(UnreadableImage, match=r"10\.png"):
        build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    assert contents(tmp_path / "c") == before
    (folder / "10.png").write_bytes(content)
    counts = build(plan, folder, FakeEncoder(), RegionStore(tmp_path / "s"), tmp_path / "c")
    assert counts.reused >= 40


@pytest.mark.parametrize("features", [np.full((4, 8), np.nan), np.zeros((4, 7))])
def test_features_that_are_none_never_reach_the_store(tmp_path, folder, features) -> None:
    encoder = FakeEncoder()
    encoder.encode = lambda pixels: features.astype(np.float32)
    with pytest.raises(UserError, match="check its weights"):
        build(make_plan(folder), folder, encoder, RegionStore(tmp_path / "s"), tmp_path / "c")
    assert not list(tmp_path.glob("s/*/*.segment"))
