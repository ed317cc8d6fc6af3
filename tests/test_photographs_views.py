"""Views of pretrain pictures: decided by seed, number and path; each read as it was encoded."""

from pathlib import Path

import numpy as np
import pytest
from coloured import Colours
from hypothesis import given
from hypothesis import strategies as st
from packed import drawn, jpeg, pack_dataset
from PIL import Image

from fdbpl.clip import small
from fdbpl.clip.preprocessing import Preprocessing
from studies.photographs import features, views
from studies.photographs.parts import DATASETS, Picture, decode, read_part
from studies.photographs.views import Pixels, cut, hidden, seen

STUDENT = small.PAIR[0]
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
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None] * 4, (64, 64, 3))
    one = picture(0)._replace(data=jpeg(Image.fromarray(np.ascontiguousarray(ramp)), 95))
    shown = (np.asarray(seen(one, view, 0)).astype(int) for view in range(1, 20))
    assert {bool(pixels[0, -1, 0] > pixels[0, 0, 0]) for pixels in shown} == {True, False}


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


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures of each of two datasets, and a plain tower."""
    for name in TWO:
        pack_dataset(tmp_path, name, ["a", "b", "c"], pretrain=1)
    for module in (features, views):
        monkeypatch.setattr(module, "DATASETS", TWO)
        monkeypatch.setattr(module, "encoder", lambda model: Colours())
    return tmp_path


def test_features_of_views_are_encoded_once(photos: Path, tmp_path: Path) -> None:
    said = list[str]()
    first, again = (hidden(photos, tmp_path, STUDENT, 1, 4, said.append) for _ in range(2))
    assert said == [f"{name}: view 1 encoded by the tower of {STUDENT}" for name in TWO]
    np.testing.assert_array_equal(first, again)
    whole = hidden(photos, tmp_path, STUDENT, 0, 4, said.append)
    assert first.shape == whole.shape == (6, 1280)
    tower = Colours()
    for found, view in ((whole, 0), (first, 1)):
        shown = [
            tower.pixels(seen(one, view, 4))
            for name in TWO
            for one in read_part(photos, name, "pretrain")
        ]
        np.testing.assert_allclose(found, tower.encode(np.stack(shown)), atol=1e-3)
