"""Class-agnostic learning: the likeliest names of each batch, and nothing of the others."""

import numpy as np
import pytest
import torch
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st
from kinds import LABELLED, TRAINED
from kinds import contexts as contexts_of
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import prompted_text
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.methods.method import Batch
from fdbpl.methods.params import TrainParams
from fdbpl.methods.prompts import starting_contexts
from fdbpl.methods.registry import find_method
from fdbpl.methods.vocabulary import VocabularyText, likeliest, restrict
from fdbpl.training import learning
from fdbpl.training.learning import learn, text_encoder

NAMES = ("cat", "dog", "sea side", "maltese puppy", "old stone building", "car")
CROPS, IMAGES = 3, 12
PARAMS = TrainParams(lr=0.1, epochs=4, batch=4)
FREE = [name for name in TRAINED if name not in LABELLED]


def batch_of(seed: int, runs: int = 2, regions: int = 5, names: int = len(NAMES)) -> Batch:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(3 * rng.standard_normal((runs, regions, names)))
    return Batch(
        student=torch.from_numpy(unit(rng, runs, regions, 32)),
        teacher=logits.log_softmax(-1),
        labels=torch.zeros(runs, regions, dtype=torch.int64),
        anchors=torch.from_numpy(unit(rng, names, 32)),
        areas=torch.from_numpy(rng.uniform(0.1, 1, (runs, regions))),
    )


@given(st.integers(0, 99), st.integers(1, 6))
def test_the_likeliest_are_those_of_the_highest_mean_probability(seed: int, count: int) -> None:
    batch = batch_of(seed)
    for run, chosen in enumerate(likeliest(batch.teacher, count).tolist()):
        means = {
            name: sum(float(region[name].exp()) for region in batch.teacher[run])
            for name in range(len(NAMES))
        }
        assert chosen == sorted(sorted(means, key=lambda name: -means[name])[:count])


def test_of_equals_the_first_are_taken() -> None:
    assert likeliest(torch.zeros(3, 5).log_softmax(-1), 2).tolist() == [0, 1]


@given(st.integers(0, 99))
def test_restricting_divides_by_the_sum_that_is_left(seed: int) -> None:
    batch = batch_of(seed)
    names = likeliest(batch.teacher, 3)
    found = restrict(batch, names)
    for run, chosen in enumerate(names.tolist()):
        kept = batch.teacher[run][:, chosen].exp()
        wanted = kept / kept.sum(-1, keepdim=True)
        assert torch.allclose(found.teacher[run].exp(), wanted, atol=1e-12)
        assert torch.equal(found.anchors[run], batch.anchors[chosen])
    assert found.student is batch.student
    assert found.areas is batch.areas
    whole = restrict(batch, likeliest(batch.teacher, len(NAMES)))
    assert torch.allclose(whole.teacher, batch.teacher, atol=1e-12)


def likeliest_text(clip: ClipModel, count: int) -> VocabularyText:
    tokens = tokenize_prompts(clip, "a photo of a", NAMES)
    return VocabularyText(count, lambda chosen: prompted_text(clip.text_tower, tokens.of(chosen)))


def test_a_step_equals_the_plain_way_over_its_names(clip: ClipModel) -> None:
    kdpl = find_method("kdpl")
    start = torch.stack(starting_contexts(clip, kdpl.starts)).repeat(2, 1, 1, 1)
    start = start + 0.1 * torch.randn(start.shape, generator=torch.Generator().manual_seed(0))

    def loss(contexts: Tensor, batch: Batch, text: Tensor) -> tuple[Tensor, Tensor]:
        value = kdpl.objective(batch, text, clip.logit_scale)["similarity"]
        return value, torch.autograd.grad(value.sum(), contexts)[0]

    batch = batch_of(1)
    contexts = start.clone().requires_grad_()
    found = loss(contexts, *likeliest_text(clip, 3)(contexts, batch))

    contexts = start.clone().requires_grad_()
    names = likeliest(batch.teacher, 3)
    everything = text_encoder(clip, NAMES)(contexts.flatten(0, 1)).view(2, 1, len(NAMES), -1)
    text = torch.stack([one[:, chosen] for one, chosen in zip(everything, names, strict=True)])
    wanted = loss(contexts, restrict(batch, names), text)
    assert torch.allclose(found[0], wanted[0], rtol=1e-5)
    assert torch.allclose(found[1], wanted[1], rtol=1e-4, atol=1e-6)


def learned(clip: ClipModel, method: str, count: int | None) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    runs = learn(
        clip,
        NAMES,
        student=unit(rng, IMAGES * CROPS, 32),
        teacher=unit(rng, IMAGES * CROPS, 24),
        teacher_vectors=unit(rng, len(NAMES), 24),
        teacher_scale=18.7,
        labels=np.zeros(IMAGES, np.int64),
        crops=CROPS,
        picks={1: np.arange(8), 2: np.arange(4, 12)},
        anchors=unit(rng, len(NAMES), 32),
        likeliest=count,
        method=method,
        params=PARAMS,
    )
    return {seed: contexts_of(run) for seed, run in runs.items()}


@pytest.mark.parametrize("method", FREE)
def test_as_many_as_there_are_is_the_plain_method_and_fewer_is_another(
    clip: ClipModel, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    plain, few = learned(clip, method, None), learned(clip, method, 2)
    everything = learned(clip, method, len(NAMES))
    start = torch.stack(starting_contexts(clip, find_method(method).starts)).numpy()
    monkeypatch.setattr(learning, "_text", lambda clip, *_: likeliest_text(clip, len(NAMES)))
    by_steps = learned(clip, method, None)
    for seed, one in plain.items():
        assert np.array_equal(everything[seed], one)
        np.testing.assert_allclose(by_steps[seed], one, atol=2e-4)
        assert few[seed].shape == start.shape
        assert np.abs(few[seed] - one).max() > 1e-4
        assert np.abs(few[seed] - start).max() > 1e-4
