"""Accuracies of the small models: each against a plain computation."""

from pathlib import Path

import numpy as np
import pytest
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st
from packed import drawn, jpeg
from PIL import Image

from fdbpl import api
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.data.dataset import GENERIC_TEMPLATE, Item
from fdbpl.data.splits import draw_order
from fdbpl.methods.linear_probe import Shots, fit_chosen
from studies.photographs import accuracies
from studies.photographs.accuracies import (
    SHORT_SIDE,
    FullSize,
    Seen,
    full_size,
    gain,
    made_small,
    probed,
    projected,
    right,
    zero_shot,
)
from studies.photographs.parts import DATASETS, Picture, decode

NAMES = ("red fox", "blue island", "lime clover", "green car", "black daisy")


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return api.load("fdbpl-tiny-student", "tiny")


def made_up(clip: ClipModel, seed: int, each: int = 6, noise: float = 5.0) -> Seen:
    """Features around the texts of five names, none far from the others."""
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(len(NAMES)), each)
    texts = api.template_vectors(clip, NAMES, GENERIC_TEMPLATE)
    rows = texts[labels] + noise * unit(rng, len(labels), texts.shape[1])
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    paths = [f"train/{NAMES[label]}/{row:04}.jpg" for row, label in enumerate(labels)]
    return Seen(rows, paths, labels, NAMES, GENERIC_TEMPLATE)


@pytest.mark.parametrize("seed", range(3))
def test_zero_shot_is_the_share_whose_own_name_is_nearest(clip: ClipModel, seed: int) -> None:
    one = made_up(clip, seed)
    texts = api.template_vectors(clip, NAMES, GENERIC_TEMPLATE)
    right = sum(
        int(np.argmax([feature @ text for text in texts]) == label)
        for feature, label in zip(one.features, one.labels, strict=True)
    )
    assert zero_shot(clip, one) == pytest.approx(100 * right / len(one.labels))
    assert 0 < right < len(one.labels)


def test_the_probe_is_the_same_as_fitted_by_hand(clip: ClipModel) -> None:
    train, test = made_up(clip, 1), made_up(clip, 2, each=20)
    found = probed(clip, train, test, seeds=(1, 2), shots=4)
    for seed, accuracy in found.items():
        items = [Item(p, int(n)) for p, n in zip(train.paths, train.labels, strict=True)]
        order = draw_order(items, seed)
        rows = [items.index(item) for label in (0, 1, 2) for item in order[label][:4]]
        probe = fit_chosen(Shots(train.features[rows][:, None], train.labels[rows]))
        base = test.labels < 3
        taken = probe.scores(test.features[base]).argmax(axis=1)
        assert accuracy == pytest.approx(100 * np.mean(taken == test.labels[base]))
        assert 40 < accuracy < 100


def test_what_the_pipeline_projects_is_projected_here(clip: ClipModel, tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.jpg" for seed in range(3)]
    for seed, file in enumerate(files):
        file.write_bytes(jpeg(drawn(seed)))
    hidden = api.image_features(clip, files, before_projection=True)
    assert hidden.shape[1] == len(last_projection(clip))
    wanted = api.image_features(clip, files)
    np.testing.assert_allclose(projected(clip, hidden), wanted, atol=1e-5)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 80), (40, 90), (640, 64)])
def test_a_picture_is_made_small_once_at_most(size: tuple[int, int]) -> None:
    picture = Picture("a/0.jpg", 0, jpeg(drawn(1, size)))
    found = decode(made_small(picture))
    assert min(found.size) == min(SHORT_SIDE, *size)
    assert found.width / found.height == pytest.approx(size[0] / size[1], rel=0.01)
    coarse = [np.asarray(one.resize((6, 6), Image.Resampling.BOX), float)
              for one in (decode(picture), found)]  # fmt: skip
    assert np.abs(coarse[0] - coarse[1]).mean() < 4


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2))
def test_a_gain_is_the_difference_of_two_accuracies(pairs: list[tuple[bool, bool]]) -> None:
    full, less = np.array(pairs).T
    found = gain(full, less)
    assert found.mean == pytest.approx(100 * (full.mean() - less.mean()))
    assert found.low <= found.mean <= found.high
    assert gain(less, full).mean == pytest.approx(-found.mean)


def test_full_size_photographs_are_of_the_classes_that_are_there(real: Path) -> None:
    for one in full_size(real):
        assert {*one.labels.tolist()} == {*range(len(one.names))}
        first = next(one.read())
        assert min(decode(first).size) > SHORT_SIDE
        assert first.label == one.labels[0]


def test_full_size_is_measured_once_and_held_against_the_same_pictures(
    clip: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [Picture(f"{n}.jpg", n % 2, jpeg(drawn(n, (160, 120)))) for n in range(4)]
    shown = FullSize("dtd", NAMES[:2], np.array([0, 1, 0, 1]), lambda: iter(pictures))

    def encoder(model: str) -> ImageEncoder:
        return ImageEncoder(clip, precision="fp32", batch_size=32, before_projection=True)

    monkeypatch.setattr(accuracies, "encoder", encoder)
    told: list[str] = []
    found = right(clip, "fdbpl-small-student", shown, tmp_path, told.append)
    assert len(told) == 2
    again = right(clip, "fdbpl-small-student", shown, tmp_path, told.append)
    assert len(told) == 2
    texts = api.template_vectors(clip, NAMES[:2], DATASETS["dtd"].template)
    for version, make in {"full_size": lambda one: one, "small": made_small}.items():
        files = []
        for one in pictures:
            files.append(tmp_path / f"{version}{one.path}")
            files[-1].write_bytes(make(one).data)
        wanted = (api.image_features(clip, files) @ texts.T).argmax(axis=1) == shown.labels
        assert found[version].tolist() == again[version].tolist() == wanted.tolist()
