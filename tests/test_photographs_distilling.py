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
from studies.photographs.distilling import Recipe, distance, drawn, train

RECIPE = Recipe(seed=3, steps=5, batch=4)
VIEWS, PICTURES, HEADS, WIDTH = 2, 7, 2, 8


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 12), st.integers(0, 9))
def test_every_view_is_drawn_once_before_any_is_again(
    views: int, pictures: int, batch: int, seed: int
) -> None:
    recipe, count = Recipe(seed, steps=1, batch=batch), views * pictures
    steps = [drawn(step, views, pictures, recipe) for step in range(2 * count)]
    places = np.concatenate([one.views * pictures + one.rows for one in steps])
    for turn in range(batch):
        of_turn = places[turn * count : (turn + 1) * count]
        assert sorted(of_turn) == list(range(count))


def test_seed_and_step_decide_what_is_drawn() -> None:
    def one(step: int, seed: int) -> bytes:
        found = drawn(step, 3, 50, Recipe(seed, steps=1, batch=20))
        return b"".join(part.tobytes() for part in (found.views, found.rows, found.mirrored))

    assert one(1, 5) == one(1, 5)
    assert len({one(1, 5), one(2, 5), one(1, 6)}) == 3
    mirrored = drawn(0, 3, 500, Recipe(0, steps=1, batch=1000)).mirrored
    assert 0.4 < mirrored.mean() < 0.6


def test_the_distance_is_that_of_the_angle() -> None:
    rng = torch.Generator().manual_seed(0)
    features, targets = (torch.randn(3, 2, 8, generator=rng) for _ in range(2))
    angles = [
        np.dot(f, t) / np.linalg.norm(f) / np.linalg.norm(t)
        for f, t in zip(features.view(6, 8).numpy(), targets.view(6, 8).numpy(), strict=True)
    ]
    assert float(distance(features, targets)) == pytest.approx(1 - np.mean(angles), abs=1e-6)


@pytest.fixture(scope="module")
def given_views() -> tuple[Any, Any]:
    """Random pixels (V, n, 3, 8, 8) and what shall be made of them (V, n, K, D)."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(VIEWS, PICTURES, 3, 8, 8)).astype(np.float32)
    targets = unit(rng, VIEWS * PICTURES * HEADS, WIDTH).astype(np.float16)
    return pixels, targets.reshape(VIEWS, PICTURES, HEADS, WIDTH)


Trained = Callable[..., tuple[bytes, list[float]]]


@pytest.fixture(scope="module")
def trained(given_views: tuple[Any, Any]) -> Trained:
    def run(recipe: Recipe, checkpoint: Path, report: Any = lambda done, total: None):
        pixels, targets = given_views
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            tower = VisionTransformer(8, 4, 16, 2, 2, 2.0, output_dim=HEADS * WIDTH)
        losses = train(tower, lambda v, n: pixels[v, n], targets, recipe, checkpoint, report)
        assert not tower.training
        return save(tower.state_dict()), losses

    return run


def test_training_lowers_the_loss(trained: Trained, tmp_path: Path) -> None:
    _, losses = trained(Recipe(seed=1, steps=120, batch=14, lr=3e-3), tmp_path / "kept")
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


def test_the_recipe_decides_every_byte(trained: Trained, tmp_path: Path) -> None:
    whole, _ = trained(RECIPE, tmp_path / "a")
    assert trained(RECIPE, tmp_path / "b")[0] == whole
    for other in (replace(RECIPE, seed=4), replace(RECIPE, lr=2e-3)):
        assert trained(other, tmp_path / "c")[0] != whole
