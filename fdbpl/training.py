"""The training loop that all methods share: features in, contexts out, nothing else changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.clip.prompting import TextEncoder
from fdbpl.features import FeatureSource, Teacher
from fdbpl.methods.batch import Batch, Objective, Terms
from fdbpl.params import TrainParams
from fdbpl.progress import Report, silent
from fdbpl.schedule import epoch_batches, learning_rate

INACTIVE_SHARE = 0.01


@dataclass(frozen=True)
class Task:
    """What a method learns from, whatever the method.

    Attributes:
        images: (I,) rows of the images to learn from; region `row * crops + k` is a crop's row.
        labels: (I,) their positions among the classes learned.
        crops: regions of each image.
        features: where regions' features come from.
        teacher: class vectors over the classes learned, and the scale of its logits.
        text: contexts (K, M, W) to class features (K, C, D) over the same classes.
        scale: the student's logit scale.
    """

    images: NDArray[np.integer[Any]]
    labels: Tensor
    crops: int
    features: FeatureSource
    teacher: Teacher
    text: TextEncoder
    scale: float


@dataclass(frozen=True)
class Trained:
    """Contexts (K, M, W), and what happened on the way.

    `terms[name]` is the mean of each term in every epoch. `gradients[epoch][name]` holds the norm
    of a term's gradient on each context, taken on the first batch of the first, the middle and
    the last epoch. `inactive` names the terms that never reach 1 % of the summed norms of all
    terms on any context.
    """

    contexts: Tensor
    terms: Mapping[str, list[float]]
    gradients: Mapping[int, Mapping[str, list[float]]]
    inactive: tuple[str, ...]


def train(
    objective: Objective,
    start: Tensor,
    task: Task,
    params: TrainParams,
    seed: int,
    report: Report = silent,
) -> Trained:
    """Minimise `objective` over the contexts by SGD, as the CoOp family does.

    Args:
        objective: of the method.
        start: contexts (K, M, W) to start from.
        task: what to learn from.
        params: the optimiser and its schedule.
        seed: decides the order of images and crops, and nothing else.
        report: follows the epochs.
    """
    contexts = start.clone().requires_grad_()
    optimiser = torch.optim.SGD(
        [contexts], lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
    )
    probed = {0, params.epochs // 2, params.epochs - 1}
    means: list[Terms] = []
    gradients: dict[int, dict[str, list[float]]] = {}
    for epoch in range(params.epochs):
        optimiser.param_groups[0]["lr"] = learning_rate(params, epoch)
        sums: dict[str, Tensor] = {}
        steps = 0
        for positions, rows in epoch_batches(
            task.images, crops=task.crops, batch=params.batch, epoch=epoch, seed=seed
        ):
            student, teacher = task.features(torch.from_numpy(rows))
            batch = Batch(student, task.teacher.log_probabilities(teacher), task.labels[positions])
            terms = objective(batch, task.text(contexts), task.scale)
            if epoch in probed and not steps:
                gradients[epoch] = gradient_norms(terms, contexts)
            optimiser.zero_grad()
            torch.stack(tuple(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            sums = {name: sums.get(name, 0) + term.detach() for name, term in terms.items()}
            steps += 1
        means.append({name: total / steps for name, total in sums.items()})
        report(epoch + 1, params.epochs)
    return Trained(
        contexts=contexts.detach(),
        terms={name: [float(mean[name]) for mean in means] for name in means[0]},
        gradients=gradients,
        inactive=inactive_terms(gradients),
    )


def gradient_norms(terms: Terms, contexts: Tensor) -> dict[str, list[float]]:
    """Return the norm of each term's gradient on each of the contexts (K, M, W)."""
    norms = {}
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, contexts, retain_graph=True, materialize_grads=True)
        norms[name] = gradient.flatten(1).norm(dim=1).tolist()
    return norms


def inactive_terms(gradients: Mapping[int, Mapping[str, list[float]]]) -> tuple[str, ...]:
    """Name the terms below 1 % of the summed norms on every context, at every probe."""
    strongest: dict[str, float] = {}
    for norms in gradients.values():
        totals = np.sum(list(norms.values()), axis=0)
        for name, norm in norms.items():
            shares = np.divide(norm, totals, out=np.zeros(len(totals)), where=totals > 0)
            strongest[name] = max(strongest.get(name, 0.0), float(shares.max()))
    return tuple(name for name, share in strongest.items() if share < INACTIVE_SHARE)
