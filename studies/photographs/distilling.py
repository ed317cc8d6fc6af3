"""Training an image tower so that its features are what a frozen tower makes of the same views.

With f (D) the tower's feature of a view, of unit length, t (D) the unit feature that it shall have,
and e_c (D) the text features of the names c of the picture's own dataset, the loss is the mean over
views and text towers of

    1 - f.t + a KL(softmax(s t.e) || softmax(s f.e))

with s the text tower's scale. A space of features belongs to each text tower, and so does an output
projection; all else of the tower is shared. The first term mostly tells datasets apart, the second
the classes of each. So the first steps have a = 0 and take every view in turn; later ones draw
small datasets more often than their share, as the root of their size says.
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
from torch.nn.functional import cosine_similarity, normalize

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
        names: a, the weight of the divergence.
        first: how many steps know of no names and datasets.
    """

    seed: int
    steps: int
    batch: int = 64
    lr: float = 1e-3
    warm: int = 200
    cool: float = 0.4
    weight_decay: float = 0.05
    clip: float = 1.0
    names: float = 0.3
    first: int = 0


@dataclass(frozen=True)
class Names:
    """What pictures are told apart by.

    Attributes:
        texts: (K, C, D) unit features of all names under their datasets' templates.
        scales: (K,) by which each text tower's cosines are multiplied.
        datasets: (C,) numbers of the names' datasets.
        shown: (n,) numbers of the pictures' datasets.
    """

    texts: Tensor
    scales: Tensor
    datasets: Ints
    shown: Ints

    def divergence(self, features: Tensor, targets: Tensor, rows: Ints) -> Tensor:
        """Return the mean KL between the names of the pictures' own datasets.

        Args:
            features: (b, K, D) of unit length.
            targets: (b, K, D) which they shall be.
            rows: (b,) of the pictures.
        """
        others = torch.from_numpy(self.shown[rows][:, None] != self.datasets)[:, None]

        def says(found: Tensor) -> Tensor:
            cosines = torch.einsum("bkd,kcd->bkc", found, self.texts)
            logits = self.scales[:, None] * cosines
            return logits.masked_fill(others, -1e4).log_softmax(-1)

        wanted = says(targets)
        return (wanted.exp() * (wanted - says(features))).sum(-1).mean()


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


def drawn(step: int, views: int, shown: Ints, recipe: Recipe) -> Drawn:
    """Return a step's views.

    Args:
        step: from 0 on.
        views: how many of each picture.
        shown: (n,) numbers of the pictures' datasets.
        recipe: seed and batch.
    """
    rng = np.random.default_rng((recipe.seed, 1, step))
    mirrored = rng.random(recipe.batch) < 0.5
    if step < recipe.first:
        return Drawn(*np.divmod(in_turn(step, views * len(shown), recipe), len(shown)), mirrored)
    chances = 1 / np.sqrt(np.bincount(shown)[shown])
    rows = rng.choice(len(shown), recipe.batch, p=chances / chances.sum())
    return Drawn(rng.integers(0, views, recipe.batch), rows, mirrored)


def in_turn(step: int, count: int, recipe: Recipe) -> Ints:
    """Return a step's places (b,) among `count`: each comes once before any comes again.

    A batch may hold the end of one round and the begin of the next.
    """
    places = np.arange(step * recipe.batch, (step + 1) * recipe.batch)
    found = np.empty(len(places), np.int64)
    for turn in np.unique(places // count):
        order = np.random.default_rng((recipe.seed, 0, turn)).permutation(count)
        of_turn = places // count == turn
        found[of_turn] = order[places[of_turn] % count]
    return found


def rate(step: int, recipe: Recipe) -> float:
    """Return a step's learning rate: up in a straight line, level, at last down along a cosine."""
    left = (recipe.steps - step - 1) / (recipe.cool * recipe.steps)
    falling = (1 - math.cos(math.pi * min(1.0, left))) / 2
    return recipe.lr * min(1.0, (step + 1) / recipe.warm) * falling


def train(
    tower: nn.Module,
    read: Read,
    targets: Floats,
    names: Names,
    recipe: Recipe,
    checkpoint: Path,
    report: Report = silent,
) -> list[float]:
    """Train a tower where it stands, from the last checkpoint on; return the losses of its steps.

    Args:
        tower: takes pixels (b, 3, S, S) to features (b, K D).
        read: returns the pixels of views (b) of pictures (b).
        targets: (V, n, K, D) of each view of each picture, for K text towers.
        names: of K text towers, by which pictures are told apart.
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
        one = drawn(step, len(targets), names.shown, recipe)
        pixels = read(one.views, one.rows)
        pixels[one.mirrored] = pixels[one.mirrored][..., ::-1]
        wanted = torch.from_numpy(targets[one.views, one.rows].astype(np.float32))
        found = tower(torch.from_numpy(pixels)).view(wanted.shape)
        loss = (1 - cosine_similarity(found, wanted, dim=-1)).mean()
        if step >= recipe.first:
            between = names.divergence(normalize(found, dim=-1), wanted, one.rows)
            loss = loss + recipe.names * between
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
