"""TCP: its text features against the tower's own full pass, its formula, and the pipeline."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeModel, unit
from plain_loss import SCALE, SEEDS, batch_of, cross_entropy, has_slopes
from small_pipeline import goes_through
from torch import Tensor

from fdbpl.clip.class_aware import ClassAwareText
from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import PlainText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.clip.vectors import template_vectors
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.params import TrainParams
from fdbpl.methods.registry import find_method
from fdbpl.methods.tcp import class_tokens
from fdbpl.system.errors import UserError
from fdbpl.training.learning import classes_of, learn

NAMES = ("cat", "dog", "small sea side")
METHOD = find_method("tcp")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("layers", "replaced"), [(1, 0), (2, 1), (3, 2), (6, 4)])
def test_text_features_are_those_of_the_whole_tower(
    make_model: MakeModel, layers: int, replaced: int
) -> None:
    clip = make_model({"layers": layers})
    tokens = tokenize_prompts(clip, POSITIVE, NAMES)
    context, own = drawn(2, 4, 64), drawn(2, 3, 4, 64, seed=1)
    found = ClassAwareText(clip, tokens)(context, own)
    tower: Any = clip.text_tower
    for run in range(2):

        def put_in(_block: Any, args: tuple[Tensor], run: int = run) -> tuple[Tensor]:
            x = args[0]
            return (torch.cat([x[:, :1], own[run], x[:, 5:]], dim=1),)

        hook = tower.transformer.resblocks[replaced].register_forward_pre_hook(put_in)
        wanted = PlainText(tower, tokens)(context[run][None])[0]
        hook.remove()
        torch.testing.assert_close(found[run], wanted, atol=1e-5, rtol=1e-4)


def test_another_text_tower_is_refused(make_model: MakeModel) -> None:
    clip = make_model({"no_causal_mask": True})
    with pytest.raises(UserError, match="in a middle layer: its attention is not causal"):
        ClassAwareText(clip, tokenize_prompts(clip, POSITIVE, NAMES))


def maps(width: int, tokens: int, wide: int) -> dict[str, Tensor]:
    shapes = {
        "positive": (tokens, wide),
        "down": (width, width // 4),
        "down_offset": (width // 4,),
        "up": (width // 4, tokens * wide),
        "up_offset": (tokens * wide,),
    }
    return {
        name: drawn(SEEDS, *shape, seed=seed).double()
        for seed, (name, shape) in enumerate(shapes.items())
    }


def test_tokens_and_their_slopes_are_those_of_the_formula() -> None:
    tensors, features = maps(8, 2, 3), batch_of(8, 5).require("anchors")
    found = class_tokens(tensors, features)
    assert found.shape == (SEEDS, 5, 2, 3)
    for run in range(SEEDS):
        one = {name: tensor[run].numpy() for name, tensor in tensors.items()}
        for c, a in enumerate(features.numpy()):
            middle = a @ one["down"] + one["down_offset"]
            middle = middle / (1 + np.exp(-1.702 * middle))
            wanted = (middle @ one["up"] + one["up_offset"]).reshape(2, 3)
            np.testing.assert_allclose(found[run, c].numpy(), wanted, rtol=1e-10)
    for name, tensor in tensors.items():
        if name != "positive":
            has_slopes(partial(squared_tokens, tensors, features, name), tensor)


def squared_tokens(
    tensors: dict[str, Tensor], features: Tensor, name: str, changed: Tensor
) -> Tensor:
    return class_tokens({**tensors, name: changed}, features).square()


def test_the_loss_is_the_error_and_eight_times_the_distance(clip: ClipModel) -> None:
    anchors = torch.from_numpy(template_vectors(clip, NAMES, "a photo of a {}."))
    batch = batch_of(32, 3, anchors=anchors)
    batch = type(batch)(batch.student.float(), batch.teacher, batch.labels, anchors)
    tokens = tokenize_prompts(clip, POSITIVE, NAMES)
    data: Any = SimpleNamespace(scale=SCALE, class_aware_text=ClassAwareText(clip, tokens))
    tensors = {name: one.float().requires_grad_() for name, one in maps(32, 4, 64).items()}
    terms = METHOD.loss(tensors, batch, data)
    text = ClassAwareText(clip, tokens)(tensors["positive"], class_tokens(tensors, anchors))
    for run in range(SEEDS):
        u = text[run].detach().double().numpy()
        logits = [SCALE * u @ f for f in batch.student[run].double().numpy()]
        wanted = cross_entropy(logits, batch.labels[run].tolist())
        assert terms["cross_entropy"][run].item() == pytest.approx(wanted, rel=1e-4)
        apart = np.mean([((x - a) ** 2).sum() for x, a in zip(u, anchors.numpy(), strict=True)])
        assert terms["knowledge"][run].item() == pytest.approx(8 * apart, rel=1e-4)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, one in tensors.items():
        assert one.grad is not None
        assert one.grad.abs().sum() > 0, name


def test_the_loss_falls_and_any_class_list_is_encoded(clip: ClipModel) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    anchors = template_vectors(clip, NAMES, "a photo of a {}.")
    regions = unit(rng, 3, 32)[labels] + 0.5 * unit(rng, 12, 32)
    known = {
        "student": (regions / np.linalg.norm(regions, axis=1, keepdims=True)).astype(np.float32),
        "teacher": unit(rng, 12, 24),
        "teacher_vectors": unit(rng, 3, 24),
        "teacher_scale": SCALE,
        "labels": labels,
        "method": "tcp",
        "params": TrainParams(epochs=8, batch=4),
    }
    found = learn(clip, NAMES, anchors=anchors, **known)[1]
    totals = np.sum(list(found.history["terms"].values()), axis=0)
    assert totals[-1] < totals[0]
    others = classes_of(clip, ["sky", "owl"], "a photo of a {}.")
    vectors = METHOD.vectors(found.arrays, others)["positive"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    more = METHOD.vectors(found.arrays, classes_of(clip, ["owl"], "a photo of a {}."))
    np.testing.assert_allclose(vectors[1], more["positive"][0], atol=1e-5)
    with pytest.raises(UserError, match="anchors"):
        learn(clip, NAMES, **known)


def test_it_goes_through_the_pipeline(tmp_path: Path) -> None:
    goes_through(tmp_path, "tcp", transfers=True)
