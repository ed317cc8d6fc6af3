from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.system.files import canonical_json


@pytest.fixture(scope="module")
def encoder(clip: ClipModel) -> ImageEncoder:
    return ImageEncoder(clip, precision="fp32", batch_size=5)


def noise_pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32)).astype(np.float32)


def test_features_have_length_one_and_the_models_width(encoder: ImageEncoder) -> None:
    features = encoder.encode(noise_pixels(5))
    assert features.dtype == np.float32
    assert features.shape == (5, encoder.dim) == (5, 32)
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)


def test_features_are_the_networks_own(encoder: ImageEncoder, clip: ClipModel) -> None:
    pixels = noise_pixels(5)
    with torch.no_grad():
        wanted = clip.network.encode_image(torch.from_numpy(pixels), normalize=True)
    assert np.allclose(encoder.encode(pixels), wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_short_batch_gives_the_full_batchs_features_bit_for_bit(encoder, count: int) -> None:
    pixels = noise_pixels(5)
    assert (encoder.encode(pixels[:count]) == encoder.encode(pixels)[:count]).all()


def test_a_feature_does_not_depend_on_its_neighbours(encoder: ImageEncoder) -> None:
    pixels = noise_pixels(5)
    turned = encoder.encode(pixels[::-1].copy())[::-1]
    assert (turned == encoder.encode(pixels)).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near_and_another_fingerprint(encoder, clip, precision: str) -> None:
    lower = ImageEncoder(clip, precision=precision, batch_size=5)
    pixels = noise_pixels(3)
    difference = np.abs(lower.encode(pixels) - encoder.encode(pixels)).max()
    assert 0 < difference < 0.05
    assert lower.fingerprint != encoder.fingerprint


def test_the_fingerprint_sees_all_that_decides_a_feature(encoder, clip: ClipModel) -> None:
    identity = clip.identity
    models = [
        clip,
        *(replace(clip, identity={**identity, field: "other"}) for field in identity),
        replace(clip, mean=(0.5, 0.5, 0.5)),
        replace(clip, std=(0.5, 0.5, 0.5)),
        replace(clip, image_size=48),
        replace(clip, interpolation="bilinear"),
        replace(clip, resize_mode="squash"),
    ]
    found = [ImageEncoder(model, precision="fp32", batch_size=5).fingerprint for model in models]
    found.append(ImageEncoder(clip, precision="fp32", batch_size=6).fingerprint)
    assert len(set(map(canonical_json, found))) == len(found)
    assert found[0] == encoder.fingerprint


def test_the_fingerprint_leaves_out_where_the_weights_came_from(encoder, clip) -> None:
    moved = ImageEncoder(replace(clip, source="elsewhere"), precision="fp32", batch_size=5)
    assert moved.fingerprint == encoder.fingerprint
    assert not any("/" in str(value) for value in encoder.fingerprint.values())


def test_pixels_are_the_preprocessings_own(encoder: ImageEncoder, clip: ClipModel) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    image, box = Image.fromarray(noise), (3, 5, 30, 31)
    assert (encoder.pixels(image, None) == clip.preprocessing.pixels(image)).all()
    assert (encoder.pixels(image, box, True) == clip.preprocessing.pixels(image, box, True)).all()
