"""From decoded images to a tower's input: torchvision's and open_clip's numbers, without torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from fdbpl.clip.model import ClipModel
from fdbpl.clip.preprocessing import TEST_VIEWS, Preprocessing, centre_view
from fdbpl.data.images import decode

MEAN, STD = (0.48, 0.45, 0.4), (0.27, 0.26, 0.28)
PLAIN = Preprocessing(32, MEAN, STD, "bicubic", "shortest")

colours = st.tuples(*(st.floats(0.01, 1),) * 3)
ways = st.builds(
    Preprocessing,
    image_size=st.integers(1, 512),
    mean=colours,
    std=colours,
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    resize_mode=st.sampled_from(list(TEST_VIEWS)),
)


def noise_image(seed: int, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def normalised(image: Image.Image) -> np.ndarray:
    return tv.normalize(tv.to_tensor(image), MEAN, STD).numpy()


@given(way=ways)
def test_a_spec_gives_back_what_it_was_taken_of_through_json_too(way: Preprocessing) -> None:
    assert Preprocessing.of(way.spec()) == way
    assert Preprocessing.of(json.loads(json.dumps(way.spec()))) == way


@pytest.mark.parametrize("key", sorted(PLAIN.spec()))
def test_a_spec_with_other_keys_is_refused(key: str) -> None:
    spec = PLAIN.spec()
    with pytest.raises(TypeError):
        Preprocessing.of({**spec, "other": 1})
    del spec[key]
    with pytest.raises((KeyError, TypeError)):
        Preprocessing.of(spec)


def test_a_model_says_how_its_own_images_are_brought_to_it(clip: ClipModel) -> None:
    way = clip.preprocessing
    for key in way.spec():
        assert getattr(way, key) == getattr(clip, key), key


@given(way=ways, seed=st.integers(0, 9))
@settings(max_examples=20)
def test_colours_are_normalised_as_torchvision_does(way: Preprocessing, seed: int) -> None:
    image = noise_image(seed, 20, 20)
    found = replace(way, image_size=20).pixels(image)
    wanted = tv.normalize(tv.to_tensor(image), way.mean, way.std).numpy()
    assert np.abs(found - wanted).max() < 1e-5 / min(way.std)


sides = st.integers(1, 90)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), width=sides, height=sides)
def test_the_test_view_is_open_clips_own(seed, width, height) -> None:
    image = noise_image(seed, width, height)
    transform = open_clip.image_transform(32, is_train=False, mean=MEAN, std=STD)
    view = PLAIN.pixels(image, None)
    assert view.shape == (3, 32, 32)
    assert np.abs(view - transform(image).numpy()).max() < 1e-5


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_the_test_view_follows_the_weights(interpolation: str, resize_mode: str) -> None:
    way = replace(PLAIN, interpolation=interpolation, resize_mode=resize_mode)
    transform = open_clip.image_transform(
        32,
        is_train=False,
        mean=MEAN,
        std=STD,
        interpolation=interpolation,
        resize_mode=resize_mode,
    )
    image = noise_image(1, 70, 40)
    assert np.abs(way.pixels(image) - transform(image).numpy()).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(data=st.data(), width=sides, height=sides, flip=st.booleans())
def test_a_region_is_torchvisions_crop_and_resize(data, width, height, flip) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    image = noise_image(0, width, height)
    wanted = tv.resized_crop(
        image, top, left, bottom - top, right - left, [32, 32], InterpolationMode.BICUBIC
    )
    wanted = tv.hflip(wanted) if flip else wanted
    found = PLAIN.pixels(image, (left, top, right, bottom), flip)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.abs(found - normalised(wanted)).max() < 1e-5


def test_the_test_view_keeps_the_centre() -> None:
    image = Image.new("RGB", (60, 20), "black")
    image.paste((255, 255, 255), (20, 0, 40, 20))
    assert np.asarray(centre_view(image, 20)).min() == 255


def test_real_photographs_of_any_shape(real: Path) -> None:
    transform = open_clip.image_transform(32, is_train=False, mean=MEAN, std=STD)
    folder = real / "caltech-101" / "101_ObjectCategories"
    paths = sorted(folder.glob("*/*.jpg"))[::300]
    assert len(paths) >= 8
    for path in paths:
        image = decode(path)
        assert np.abs(PLAIN.pixels(image, None) - transform(image).numpy()).max() < 1e-5


def test_no_torch_is_loaded() -> None:
    code = "import sys, fdbpl.clip.preprocessing; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
