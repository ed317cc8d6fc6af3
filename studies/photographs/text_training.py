"""Training a text tower and a projection onto frozen image features.

The loss is cross-entropy between pictures and captions, both ways, over all captions of the batch;
a caption is right for every picture that it is true of.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fdbpl.clip import small
from fdbpl.clip.model import quiet_about_random_start
from studies.photographs.batches import Batch, Recipe, Rows, Sampler
from studies.photographs.captions import Captions, Subject
from studies.photographs.resuming import groups, keep, resume, share_of_rate
from studies.photographs.text_tower import Floats, Projection, TextTower, with_small_stream


@dataclass(frozen=True)
class Pictures:
    """What is trained on.

    Attributes:
        features: (n, E) before the projection, of unit length.
        labels: (n) rows of the classes among the subjects.
        imagenet: (n, 1000) logits of ImageNet's classifier.
    """

    features: Floats
    labels: Rows
    imagenet: Floats


def share(logits: Tensor, right: Tensor, dim: int) -> Tensor:
    """Return the cross-entropy to equal shares of what is right, over what has any; else 0."""
    counts = right.sum(dim, keepdim=True)
    terms = -(logits.log_softmax(dim) * right / counts.clamp(min=1)).sum(dim)
    told = terms[counts.squeeze(dim) > 0]
    return told.mean() if len(told) else told.sum()


def loss_of(
    logits: Tensor, batch: Batch, imagenet: Tensor, teacher: Tensor, recipe: Recipe
) -> Tensor:
    """Return the loss of a step.

    Args:
        logits: (n, t) of pictures and captions.
        batch: which are right.
        imagenet: (n, k) logits of pictures and some of ImageNet's names.
        teacher: (n, k) logits of ImageNet's classifier on these names.
        recipe: weights.
    """
    right, own = torch.from_numpy(batch.right).float(), torch.from_numpy(batch.own)
    known = logits.masked_fill(torch.from_numpy(batch.unknown), -1e4)
    loss = share(known, right, 1) + share(known, right, 0)
    if recipe.within:
        loss = loss + recipe.within * share(logits.masked_fill(~own, -1e4), right * own, 1)
    if recipe.imagenet:
        told = teacher.softmax(1) * imagenet.log_softmax(1)
        loss = loss - recipe.imagenet_weight * told.sum(1).mean()
    return loss


EVERY = 100
"""Steps between checkpoints: less than two minutes on one core."""


def train(
    model: str,
    pictures: Pictures,
    subjects: Sequence[Subject],
    imagenet: Sequence[Subject],
    recipe: Recipe,
    checkpoint: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Tensor]:
    """Return the tensors of a small model's file, trained from the last checkpoint on.

    Args:
        model: of `fdbpl.clip.small.PAIR`.
        pictures: what is trained on.
        subjects: classes, then kinds; `pictures.labels` are rows of it.
        imagenet: ImageNet's names.
        recipe: how.
        checkpoint: where an interrupted training goes on; it is taken away at the end.
        report: called with the steps done and all steps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        everybody = [*subjects, *imagenet]
        captions = Captions(everybody)
        tower = TextTower(_network(model), captions.tokens_used())
        projection = Projection(pictures.features, small.config(model)["embed_dim"])
    learned = nn.ModuleDict({"text": tower, "image": projection})
    trained = [one for name, one in learned.named_parameters() if ".visual." not in name]
    trained = [one for one in trained if one is not tower.network.token_embedding.weight]
    optimiser = torch.optim.AdamW(groups(trained, recipe.weight_decay), recipe.lr, (0.9, 0.98))
    first = resume(checkpoint, trained, optimiser)
    inputs = projection.inputs(torch.from_numpy(pictures.features))
    logits_of_imagenet = torch.from_numpy(pictures.imagenet)
    sampler = Sampler(pictures.labels, subjects, recipe)
    for step in range(first, recipe.steps):
        rng = np.random.Generator(np.random.Philox(key=[recipe.seed, step]))
        hidden = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * share_of_rate(step, recipe.steps)
        batch = sampler.draw(rng)
        names = rng.choice(len(imagenet), recipe.imagenet, replace=False)
        texts = tower(captions.draw(rng, np.concatenate([batch.subjects, len(subjects) + names])))
        x = inputs[batch.rows]
        kept = (torch.rand(x.shape, generator=hidden) >= recipe.dropout) / (1 - recipe.dropout)
        images = normalize((x * kept) @ projection.weight, dim=1)
        logits = tower.network.logit_scale.exp() * images @ texts.T
        count = len(batch.subjects)
        loss = loss_of(
            logits[:, :count], batch, logits[:, count:],
            logits_of_imagenet[batch.rows][:, names], recipe,
        )  # fmt: skip
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        with torch.no_grad():
            tower.network.logit_scale.clamp_(max=math.log(100))
        report(step + 1, recipe.steps)
        if (step + 1) % EVERY == 0:
            keep(checkpoint, step + 1, trained, optimiser)
    found = {**with_small_stream(tower.tensors()), "visual.head.proj.weight": projection.matrix()}
    return {name: _stored(tensor) for name, tensor in found.items()}


def _network(model: str) -> Any:
    import open_clip

    small.register()
    with quiet_about_random_start():
        return open_clip.create_model(model)


def _stored(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.half() if tensor.is_floating_point() else tensor.int()).contiguous()
