"""Training text towers: the loss, and that an interruption changes no byte."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from told import (
    CLASSES,
    IMAGENET,
    LABELS,
    STUDENT,
    SUBJECTS,
    batches,
    recipes,
    wholes,
)
from torch import Tensor

from fdbpl.clip import small
from studies.photographs import text_training
from studies.photographs.batches import Batch, Recipe
from studies.photographs.text_training import Pictures, loss_of, share, train

shapes = st.tuples(st.integers(1, 5), st.integers(1, 4))


@given(shapes, wholes, st.sampled_from([0, 1]), st.sampled_from([0.0, 0.2, 0.6]))
def test_a_share_is_the_plain_loop_s(shape, seed: int, dim: int, chance: float) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 3, shape)).float()
    right = torch.from_numpy(rng.random(shape) < chance)
    rows = list(zip(*((logits, right) if dim else (logits.T, right.T)), strict=True))
    terms = [-row.log_softmax(0)[told].mean() for row, told in rows if told.any()]
    wanted = torch.stack(terms).mean() if terms else torch.tensor(0.0)
    torch.testing.assert_close(share(logits, right.float(), dim), wanted)


def plain_loss(logits: Tensor, batch: Batch, imagenet: Tensor, teacher: Tensor, recipe: Recipe):
    """The loss of `loss_of`, one picture and one caption after the other."""

    def mean(terms: list[Tensor]) -> Tensor:
        return torch.stack(terms).mean() if terms else torch.tensor(0.0)

    known, right, own = (torch.from_numpy(one) for one in (~batch.unknown, batch.right, batch.own))
    pictures = [
        (logits[n][known[n]].logsumexp(0) - logits[n])[right[n]].mean() for n in range(len(logits))
    ]
    captions = [
        (logits[:, t][known[:, t]].logsumexp(0) - logits[:, t])[right[:, t]].mean()
        for t in range(logits.shape[1])
    ]
    within = [
        (logits[n][own[n]].logsumexp(0) - logits[n])[own[n] & right[n]].mean()
        for n in range(len(logits))
        if own[n].any()
    ]
    told = [-(teacher[n].softmax(0) * imagenet[n].log_softmax(0)).sum() for n in range(len(logits))]
    return (
        mean(pictures)
        + mean(captions)
        + recipe.within * mean(within)
        + recipe.imagenet_weight * mean(told)
    )


@given(recipes, wholes)
def test_the_loss_is_the_plain_loop_s(recipe: Recipe, seed: int) -> None:
    recipe = replace(recipe, within=0.7, imagenet=3, imagenet_weight=0.4)
    rng = torch.Generator().manual_seed(seed)
    (batch,) = batches(recipe, seed, 1)
    logits, imagenet, teacher = (
        5 * torch.randn(recipe.batch, count, generator=rng) for count in (len(batch.subjects), 3, 3)
    )
    found = loss_of(logits, batch, imagenet, teacher, recipe)
    wanted = plain_loss(logits, batch, imagenet, teacher, recipe)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    without = replace(recipe, within=0.0, imagenet=0)
    torch.testing.assert_close(
        loss_of(logits, batch, imagenet, teacher, without),
        plain_loss(logits, batch, imagenet, teacher, replace(without, imagenet_weight=0.0)),
        atol=1e-5,
        rtol=1e-5,
    )


RECIPE = Recipe(seed=5, steps=5, batch=6, imagenet=3)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    imagenet = rng.normal(0, 2, (len(LABELS), len(IMAGENET))).astype(np.float32)
    return Pictures(unit(rng, len(LABELS), 1280), LABELS, imagenet)


Trained = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="module")
def trained(pictures: Pictures) -> Trained:
    def run(recipe: Recipe, checkpoint: Path, report: Any = lambda done, total: None):
        return train(STUDENT, pictures, SUBJECTS, IMAGENET, recipe, checkpoint, report)

    return run


@pytest.fixture(scope="module")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return trained(RECIPE, tmp_path_factory.mktemp("whole") / "unused")


class StoppedError(Exception):
    pass


def test_an_interrupted_training_ends_in_the_same_bytes(
    trained: Trained, whole: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_training, "EVERY", 2)
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
    found = trained(RECIPE, tmp_path / "kept", stop_after(9))
    assert steps == [1, 1, 2, 3, 3, 4, 5]
    assert save(found) == save(whole)


def test_the_recipe_and_its_seed_decide_every_byte(
    trained: Trained, whole: dict[str, Tensor], tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    assert save(trained(RECIPE, tmp_path / "a")) == save(whole)
    assert torch.equal(torch.get_rng_state(), state)
    for other in (replace(RECIPE, seed=6), replace(RECIPE, lr=1e-3)):
        assert save(trained(other, tmp_path / "b")) != save(whole)


def test_what_is_trained_is_all_that_a_file_holds(whole: dict[str, Tensor]) -> None:
    for name, tensor in whole.items():
        assert tensor.dtype == (torch.int32 if name == small.ROWS else torch.float16), name
        assert torch.isfinite(tensor.float()).all(), name
    state = small.assemble(whole, small.image_trunk("tf_efficientnet_lite0"))
    clip = open_clip.create_model(STUDENT)
    clip.load_state_dict(state, strict=True)
    assert whole[small.ROWS].tolist() == sorted(whole[small.ROWS].tolist())


def test_training_lowers_the_loss_of_what_it_is_told(trained, pictures, tmp_path: Path) -> None:
    recipe = Recipe(seed=1, steps=40, batch=12, lr=1e-3, kinds=0, imagenet=0, dropout=0)
    found = trained(recipe, tmp_path / "kept")
    clip = open_clip.create_model(STUDENT).eval()
    clip.load_state_dict(small.assemble(found, small.image_trunk("tf_efficientnet_lite0")))
    tokenizer = open_clip.get_tokenizer(STUDENT)
    with torch.no_grad():
        texts = clip.encode_text(tokenizer([f"a photo of a {one.name}." for one in CLASSES]))
        images = torch.from_numpy(pictures.features) @ clip.visual.head.proj.weight.T
        right = (images @ torch.nn.functional.normalize(texts, dim=1).T).argmax(1).numpy()
    assert (right == LABELS).mean() > 0.8


def test_a_trained_tower_s_embeddings_are_as_short_as_clip_s(whole: dict[str, Tensor]) -> None:
    embedding = small.assemble(whole, {})[small.EMBEDDING].float()
    assert embedding[embedding.any(1)].norm(dim=1).mean() < 0.5
