"""Training an image tower so that its features are what a frozen tower makes of the same views.

With f (D) the tower's feature of a view and t (D) the unit feature that it shall have, the loss is
the mean over views and text towers of 1 - cos(f, t): a space of features belongs to each text tower
that reads them, and so does an output projection; all else of the tower is shared.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from fdbpl.system.progress import Report, silent
from studies.photographs.resuming import groups, keep, resume

EVERY = 50
"""Steps between checkpoints: a minute on one core."""

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Read = Callable[[Ints, Ints], NDArray[np.float32]]


@dataclass(frozen=True)
class Recipe:
    """All that decides a tower beside the views and what it shall make of them.

    Attributes:
        seed: of the start, of the order of views and of which are mirrored.
        steps: of training.
        batch: views a step.
        lr: the highest learning rate.
        warm: steps until the learning rate is reached.
        cool: share of all steps, the last ones, over which it falls along a cosine.
        weight_decay: of matrices.
        clip: the longest gradient.
    """

    seed: int
    steps: int
    batch: int = 64
    lr: float = 1e-3
    warm: int = 200
    cool: float = 0.4
    weight_decay: float = 0.05
    clip: float = 1.0


@dataclass(frozen=True)
class Drawn:
    """One step's views.

    Attributes:
        views: (b,) numbers of views.
        rows: (b,) of the pictures.
        mirrored: (b,) which are shown mirrored, which a feature hardly tells.
    """

    views: Ints
    rows: Ints
    mirrored: NDArray[np.bool_]


def drawn(step: int, views: int, pictures: int, recipe: Recipe) -> Drawn:
    """Return a step's views: each of all comes once before any comes again.

    A batch may hold the end of one round through all views and the begin of the next.

    Args:
        step: from 0 on.
        views: how many of each picture.
        pictures: how many there are.
        recipe: seed and batch.
    """
    count = views * pictures
    places = np.arange(step * recipe.batch, (step + 1) * recipe.batch)
    found = np.empty(len(places), np.int64)
    for turn in np.unique(places // count):
        order = np.random.default_rng((recipe.seed, 0, turn)).permutation(count)
        of_turn = places // count == turn
        found[of_turn] = order[places[of_turn] % count]
    mirrored = np.random.default_rng((recipe.seed, 1, step)).random(len(places)) < 0.5
    return Drawn(*np.divmod(found, pictures), mirrored)


def rate(step: int, recipe: Recipe) -> float:
    """Return a step's learning rate: up in a straight line, level, at last down along a cosine."""
    left = (recipe.steps - step - 1) / (recipe.cool * recipe.steps)
    falling = (1 - math.cos(math.pi * min(1.0, left))) / 2
    return recipe.lr * min(1.0, (step + 1) / recipe.warm) * falling


def distance(features: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of 1 - cos between features and targets (..., D)."""
    return (1 - cosine_similarity(features, targets, dim=-1)).mean()


def train(
    tower: nn.Module,
    read: Read,
    targets: Floats,
    recipe: Recipe,
    checkpoint: Path,
    report: Report = silent,
) -> list[float]:
    """Train a tower where it stands, from the last checkpoint on; return the losses of its steps.

    Args:
        tower: takes pixels (b, 3, S, S) to features (b, K D).
        read: returns the pixels of views (b) of pictures (b).
        targets: (V, n, K, D) of each view of each picture, for K text towers.
        recipe: how.
        checkpoint: where an interrupted training goes on.
        report: called with the steps done and all steps.
    """
    trained = [one for one in tower.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(groups(trained, recipe.weight_decay), recipe.lr, (0.9, 0.98))
    first, losses = resume(checkpoint, trained, optimiser), list[float]()
    tower.train()
    for step in range(first, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, recipe)
        one = drawn(step, targets.shape[0], targets.shape[1], recipe)
        pixels = read(one.views, one.rows)
        pixels[one.mirrored] = pixels[one.mirrored][..., ::-1]
        wanted = torch.from_numpy(targets[one.views, one.rows].astype(np.float32))
        loss = distance(tower(torch.from_numpy(pixels)).view(wanted.shape), wanted)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimiser.step()
        losses.append(loss.item())
        report(step + 1, recipe.steps)
        if (step + 1) % EVERY == 0:
            keep(checkpoint, step + 1, trained, optimiser)
    tower.eval()
    return losses
