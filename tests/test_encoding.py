from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.clip.preprocessing import centre_view
from fdbpl.data.images import decode
from fdbpl.system.files import canonical_json


@pytest.fixture(scope="module")
def encoder(clip: ClipModel) -> ImageEncoder:
    return ImageEncoder(clip, precision="fp32", batch_size=5)


def noise_image(seed: int, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def noise_pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32)).astype(np.float32)


def normalised(clip: ClipModel, image: Image.Image) -> np.ndarray:
    return tv.normalize(tv.to_tensor(image), clip.mean, clip.std).numpy()


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


sides = st.integers(1, 90)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), width=sides, height=sides)
def test_the_test_view_is_open_clips_own(encoder, clip, seed, width, height) -> None:
    image = noise_image(seed, width, height)
    transform = open_clip.image_transform(32, is_train=False, mean=clip.mean, std=clip.std)
    view = encoder.pixels(image, None)
    assert view.shape == (3, 32, 32)
    assert np.abs(view - transform(image).numpy()).max() < 1e-5


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_the_test_view_follows_the_weights(clip, interpolation: str, resize_mode: str) -> None:
    model = replace(clip, interpolation=interpolation, resize_mode=resize_mode)
    encoder = ImageEncoder(model, precision="fp32", batch_size=1)
    transform = open_clip.image_transform(
        32,
        is_train=False,
        mean=clip.mean,
        std=clip.std,
        interpolation=interpolation,
        resize_mode=resize_mode,
    )
    image = noise_image(1, 70, 40)
    assert np.abs(encoder.pixels(image, None) - transform(image).numpy()).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(data=st.data(), width=sides, height=sides, flip=st.booleans())
def test_a_region_is_torchvisions_crop_and_resize(encoder, clip, data, width, height, flip) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    image = noise_image(0, width, height)
    wanted = tv.resized_crop(
        image, top, left, bottom - top, right - left, [32, 32], InterpolationMode.BICUBIC
    )
    wanted = tv.hflip(wanted) if flip else wanted
    found = encoder.pixels(image, (left, top, right, bottom), flip)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.abs(found - normalised(clip, wanted)).max() < 1e-5


def test_the_test_view_keeps_the_centre() -> None:
    image = Image.new("RGB", (60, 20), "black")
    image.paste((255, 255, 255), (20, 0, 40, 20))
    assert np.asarray(centre_view(image, 20)).min() == 255


def test_real_photographs_of_any_shape(encoder, clip, real: Path) -> None:
    transform = open_clip.image_transform(32, is_train=False, mean=clip.mean, std=clip.std)
    folder = real / "caltech-101" / "101_ObjectCategories"
    paths = sorted(folder.glob("*/*.jpg"))[::300]
    assert len(paths) >= 8
    for path in paths:
        image = decode(path)
        assert np.abs(encoder.pixels(image, None) - transform(image).numpy()).max() < 1e-5
