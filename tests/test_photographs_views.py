"""Views of pretrain pictures: decided by seed, number and path; each read as it was encoded."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packed import drawn, jpeg, pack_dataset

from fdbpl.clip import small
from fdbpl.clip.preprocessing import Preprocessing
from studies.photographs import features, views
from studies.photographs.parts import DATASETS, Picture, decode, read_part
from studies.photographs.views import Pixels, cut, hidden, seen

STUDENT = small.MODELS[0]
TWO = {name: DATASETS[name] for name in ("dtd", "rsscn7")}
INPUT = Preprocessing(16, (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")


def picture(number: int, size: tuple[int, int] = (48, 40)) -> Picture:
    return Picture(f"dtd/pretrain/sea/{number:04}.jpg", 0, jpeg(drawn(number, size)))


@given(st.integers(0, 99), st.integers(1, 9), st.tuples(*[st.integers(4, 70)] * 2), st.integers())
def test_a_view_is_a_square_of_the_picture(number: int, view: int, size, seed: int) -> None:
    one = picture(number, size)
    found = seen(one, view, abs(seed))
    assert found.width == found.height
    assert views.SMALLEST * min(size) - 0.5 <= found.width <= min(size)
    whole = np.asarray(decode(one)).astype(int)
    for pixels in (np.asarray(found), np.asarray(found)[:, ::-1]):
        places = np.lib.stride_tricks.sliding_window_view(whole, pixels.shape)
        if (places == pixels).all((-3, -2, -1)).any():
            return
    raise AssertionError("no square of the picture")


def test_seed_number_and_path_decide_a_view() -> None:
    def data(number: int, view: int, seed: int) -> bytes:
        return cut(picture(number)._replace(data=picture(0).data), view, seed).data

    assert data(0, 1, 2) == data(0, 1, 2)
    assert len({data(0, 1, 2), data(1, 1, 2), data(0, 3, 2), data(0, 1, 5)}) == 4


def test_some_views_are_mirrored_and_some_are_not() -> None:
    ramp = Picture("a", 0, jpeg(drawn(0).resize((1, 1)).resize((64, 64))))
    left_is_dark = np.zeros((64, 64, 3), np.uint8)
    left_is_dark[:] = np.arange(64)[:, None] * 4
    from PIL import Image

    ramp = ramp._replace(data=jpeg(Image.fromarray(left_is_dark), 95))
    grows = [bool(np.diff(np.asarray(seen(ramp, view, 0))[0, [0, -1], 0].astype(int)) > 0)
             for view in range(1, 20)]  # fmt: skip
    assert any(grows)
    assert not all(grows)


def test_a_view_is_kept_without_loss_and_the_whole_is_the_picture() -> None:
    one = picture(3)
    assert np.array_equal(np.asarray(decode(cut(one, 2, 7))), np.asarray(seen(one, 2, 7)))
    assert np.array_equal(np.asarray(seen(one, 0, 7)), np.asarray(decode(one)))


def test_pixels_are_those_of_the_views_whenever_they_are_asked_for() -> None:
    pictures = [picture(number) for number in range(3)]
    read = Pixels(pictures, 2, INPUT, seed=5)
    asked = np.array([0, 1, 1, 0, 1]), np.array([2, 0, 2, 2, 0])
    wanted = [INPUT.pixels(seen(pictures[row], view, 5)) for view, row in zip(*asked, strict=True)]
    for _ in range(2):
        np.testing.assert_array_equal(read(*asked), np.stack(wanted))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three pictures of each of two datasets, and one image tower."""
    folder = tmp_path_factory.mktemp("photos")
    for name in TWO:
        pack_dataset(folder, name, ["a", "b", "c"], pretrain=1)
    with pytest.MonkeyPatch.context() as patch:
        for module in (features, views):
            patch.setattr(module, "DATASETS", TWO)
            patch.setattr(module, "encoder", ENCODER)
        patch.setattr(features, "BATCH", 2)
        yield folder


ENCODER = lru_cache(features.encoder)


def test_features_of_views_are_encoded_once(photos: Path, tmp_path: Path) -> None:
    said = list[str]()
    first, again = (hidden(photos, tmp_path, STUDENT, 1, 4, said.append) for _ in range(2))
    assert said == [f"{name}: view 1 encoded by the tower of {STUDENT}" for name in TWO]
    np.testing.assert_array_equal(first, again)
    whole = hidden(photos, tmp_path, STUDENT, 0, 4, said.append)
    assert first.shape == whole.shape == (6, 1280)
    assert not np.allclose(first, whole, atol=1e-3)
    tower = ENCODER(STUDENT)
    (one, *_) = read_part(photos, "dtd", "pretrain")
    (wanted,) = tower.encode(tower.pixels(seen(one, 1, 4), None)[None])
    np.testing.assert_allclose(first[0], wanted, atol=2e-3)
