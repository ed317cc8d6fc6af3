"""Training an image tower to features: every view in turn, a lower loss, the same bytes again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transformer import VisionTransformer
from safetensors.torch import save

from studies.photographs import distilling
from studies.photographs.distilling import Names, Recipe, drawn, rate, train

RECIPE = Recipe(seed=3, steps=5, batch=4, warm=1, first=1)
VIEWS, PICTURES, HEADS, WIDTH = 2, 7, 2, 8


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 12), st.integers(0, 9))
def test_at_first_every_view_is_drawn_once_before_any_is_again(
    views: int, pictures: int, batch: int, seed: int
) -> None:
    count, shown = views * pictures, np.arange(pictures)
    recipe = Recipe(seed, steps=1, batch=batch, first=2 * count)
    steps = [drawn(step, views, shown, recipe) for step in range(2 * count)]
    places = np.concatenate([one.views * pictures + one.rows for one in steps])
    for turn in range(batch):
        of_turn = places[turn * count : (turn + 1) * count]
        assert sorted(of_turn) == list(range(count))


def test_later_datasets_are_drawn_by_the_root_of_their_size() -> None:
    shown = np.repeat([0, 1, 2], [1, 25, 100])
    one = drawn(9, 3, shown, Recipe(0, steps=10, batch=48_000, first=9))
    shares = np.bincount(shown[one.rows]) / len(one.rows)
    np.testing.assert_allclose(shares, np.array([1, 5, 10]) / 16, atol=0.01)
    np.testing.assert_allclose(np.bincount(one.views) / len(one.views), 1 / 3, atol=0.01)
    assert np.bincount(one.rows, minlength=126)[1:26].std() < 60


@pytest.mark.parametrize("first", [0, 9])
def test_seed_and_step_decide_what_is_drawn(first: int) -> None:
    def one(step: int, seed: int) -> bytes:
        found = drawn(step, 3, np.zeros(50, int), Recipe(seed, steps=1, batch=20, first=first))
        return b"".join(part.tobytes() for part in (found.views, found.rows, found.mirrored))

    assert one(1, 5) == one(1, 5)
    assert len({one(1, 5), one(2, 5), one(1, 6)}) == 3
    mirrored = drawn(0, 3, np.zeros(500, int), Recipe(0, steps=1, batch=1000)).mirrored
    assert 0.4 < mirrored.mean() < 0.6


@given(st.integers(0, 99))
def test_the_divergence_is_the_plain_loop_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    datasets, shown = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 0])
    texts = unit(rng, 10, WIDTH).reshape(2, 5, WIDTH)
    features, targets = (unit(rng, 6, WIDTH).reshape(3, 2, WIDTH) for _ in range(2))
    rows, scales = np.array([2, 0, 3]), np.array([5.0, 9.0])
    terms = []
    for place, row in enumerate(rows):
        own = datasets == shown[row]
        for head, scale in enumerate(scales):
            p, q = (
                softmax(scale * texts[head, own] @ one[place, head]) for one in (targets, features)
            )
            terms.append(np.sum(p * np.log(p / q)))
    names = Names(torch.from_numpy(texts), torch.from_numpy(scales), datasets, shown)
    found = names.divergence(torch.from_numpy(features), torch.from_numpy(targets), rows)
    assert float(found) == pytest.approx(np.mean(terms), abs=1e-5)


def softmax(logits: Any) -> Any:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


@pytest.fixture(scope="module")
def given_views() -> tuple[Any, ...]:
    """Random pixels (V, n, 3, 8, 8), what shall be made of them (V, n, K, D), and names."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(VIEWS, PICTURES, 3, 8, 8)).astype(np.float32)
    targets = unit(rng, VIEWS * PICTURES * HEADS, WIDTH).astype(np.float16)
    texts = torch.from_numpy(unit(rng, HEADS * 4, WIDTH)).float().view(HEADS, 4, WIDTH)
    shown = np.arange(PICTURES) % 2
    names = Names(texts, torch.tensor([5.0, 9.0]), np.array([0, 0, 1, 1]), shown)
    return pixels, targets.reshape(VIEWS, PICTURES, HEADS, WIDTH), names


Trained = Callable[..., tuple[bytes, list[float]]]


@pytest.fixture(scope="module")
def trained(given_views: tuple[Any, ...]) -> Trained:
    def run(recipe: Recipe, checkpoint: Path, report: Any = lambda done, total: None):
        pixels, *wanted = given_views
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            tower = VisionTransformer(8, 4, 16, 2, 2, 2.0, output_dim=HEADS * WIDTH)
        losses = train(tower, lambda v, n: pixels[v, n], *wanted, recipe, checkpoint, report)
        assert not tower.training
        return save(tower.state_dict()), losses

    return run


def test_training_lowers_the_loss(trained: Trained, tmp_path: Path) -> None:
    _, losses = trained(Recipe(seed=1, steps=120, batch=14, lr=3e-3, warm=10), tmp_path / "kept")
    assert len(losses) == 120
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


class StoppedError(Exception):
    pass


def test_an_interrupted_training_ends_in_the_same_bytes(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, losses = trained(RECIPE, tmp_path / "whole")
    monkeypatch.setattr(distilling, "EVERY", 2)
    steps = list[int]()

    def stop_after(last: int) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            assert total == RECIPE.steps
            steps.append(done)
            if done == last:
                raise StoppedError

        return report

    for last in (1, 3):  # before any checkpoint, and after one
        with pytest.raises(StoppedError):
            trained(RECIPE, tmp_path / "kept", stop_after(last))
    again, rest = trained(RECIPE, tmp_path / "kept", stop_after(9))
    assert steps == [1, 1, 2, 3, 3, 4, 5]
    assert again == whole
    assert rest == losses[2:]


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(seed=0, steps=100, lr=2.0, warm=10, cool=0.4)
    rates = [rate(step, recipe) for step in range(100)]
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11))
    assert set(rates[10:60]) == {2.0}
    assert rates[79] == pytest.approx(1.0)
    assert (np.diff(rates[59:]) < 0).all()
    assert rates[-1] == 0


def test_what_comes_before_the_fall_is_the_same_of_more_steps(
    trained: Trained, tmp_path: Path
) -> None:
    one, more = (
        trained(replace(RECIPE, warm=2, steps=steps, cool=1 / steps), tmp_path / str(steps))[1]
        for steps in (4, 9)
    )
    assert more[:4] == one


def test_the_recipe_decides_every_byte(trained: Trained, tmp_path: Path) -> None:
    whole, _ = trained(RECIPE, tmp_path / "a")
    assert trained(RECIPE, tmp_path / "b")[0] == whole
    for other in (replace(RECIPE, seed=4), replace(RECIPE, lr=2e-3), replace(RECIPE, names=0.2)):
        assert trained(other, tmp_path / "c")[0] != whole
