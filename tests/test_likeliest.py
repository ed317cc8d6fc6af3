"""Class-agnostic learning: the likeliest names of each batch, and nothing of the others."""

import numpy as np
import pytest
import torch
from conftest import unit
from fdbpl.methods.batch import Batch
from fdbpl.methods.names import LABELLED, TRAINED
from fdbpl.methods.table import trained_method
from fdbpl.training.likeliest import LikeliestText, likeliest, restrict
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import prompted_text
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.methods.kdpl import kdpl
from fdbpl.methods.params import TrainParams
from fdbpl.training import learning
from fdbpl.training.learning import learn, starting_contexts, text_encoder

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


def test_all_names_are_the_batch_as_it_was() -> None:
    batch = batch_of(0)
    names = likeliest(batch.teacher, len(NAMES))
    assert names.tolist() == [list(range(len(NAMES)))] * 2
    found = restrict(batch, names)
    assert torch.allclose(found.teacher, batch.teacher, atol=1e-12)


def likeliest_text(clip: ClipModel, count: int) -> LikeliestText:
    tokens = tokenize_prompts(clip, "a photo of a", NAMES)
    return LikeliestText(count, lambda chosen: prompted_text(clip.text_tower, tokens.of(chosen)))


def test_a_step_equals_the_plain_way_over_its_names(clip: ClipModel) -> None:
    start = starting_contexts(clip, trained_method("kdpl")).repeat(2, 1, 1, 1)
    start = start + 0.1 * torch.randn(start.shape, generator=torch.Generator().manual_seed(0))

    def loss(contexts: Tensor, batch: Batch, text: Tensor) -> tuple[Tensor, Tensor]:
        value = kdpl(batch, text, clip.logit_scale)["similarity"]
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


def learned(clip: ClipModel, method: str, count: int | None) -> dict[int, Tensor]:
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
    return {seed: run.contexts for seed, run in runs.items()}


@pytest.mark.parametrize("method", FREE)
def test_as_many_as_there_are_is_the_plain_method(
    clip: ClipModel, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    plain = learned(clip, method, None)
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            plain.values(), learned(clip, method, len(NAMES)).values(), strict=True
        )
    )
    monkeypatch.setattr(learning, "_text", lambda clip, *_: likeliest_text(clip, len(NAMES)))
    by_steps = learned(clip, method, None)
    for seed, contexts in plain.items():
        assert torch.allclose(by_steps[seed], contexts, atol=2e-4)


@pytest.mark.parametrize("method", FREE)
def test_fewer_names_teach_something_else(clip: ClipModel, method: str) -> None:
    few, all_names = learned(clip, method, 2), learned(clip, method, None)
    start = starting_contexts(clip, trained_method(method))
    for seed, contexts in few.items():
        assert contexts.shape == start.shape
        assert (contexts - all_names[seed]).abs().max() > 1e-4
        assert (contexts - start).abs().max() > 1e-4
