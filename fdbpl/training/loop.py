"""The training loop that all methods share: features in, contexts out, nothing else changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.clip.prompting import TextEncoder
from fdbpl.methods.batch import Batch, Objective, Terms
from fdbpl.settings.params import TrainParams
from fdbpl.system.device import moved
from fdbpl.system.progress import Report, silent
from fdbpl.training.features import FeatureSource, Lookup, Teacher, in_order
from fdbpl.training.interim import Interim, Standing
from fdbpl.training.likeliest import LikeliestText
from fdbpl.training.schedule import epoch_steps, learning_rate

INACTIVE_SHARE = 0.01
_CONTEXTS, _MOMENTUM = "contexts", "momentum_buffer"

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Task:
    """What a method learns from, whatever the method.

    Training runs on the device of the teacher's vectors; `anchors` lie there, and what
    `features` and `text` give. The others are small, and follow step by step.

    Attributes:
        labels: (N,) for every image its position among the classes learned.
        crops: regions of each image; region `image * crops + k` is crop k of an image.
        features: where regions' features come from.
        teacher: class vectors over the classes learned, and the scale of its logits.
        text: contexts (K, M, W) to class features (K, C, D) over the same classes; or, of a
            vocabulary, over the likeliest of each batch.
        scale: the student's logit scale.
        anchors: (C, D) the student's unit class features under a hand-written template, for the
            methods that keep near to them.
        areas: rows (...) of regions to the share (...) of its image that each shows.
    """

    labels: Tensor
    crops: int
    features: FeatureSource
    teacher: Teacher
    text: TextEncoder | LikeliestText
    scale: float
    anchors: Tensor | None = None
    areas: Lookup | None = None

    @property
    def device(self) -> torch.device:
        """Where training runs."""
        return self.teacher.vectors.device


@dataclass(frozen=True)
class Trained:
    """Contexts (K, M, W) of one seed, and what happened on the way.

    `terms[name]` is the mean of each term in every epoch. `gradients[epoch][name]` holds the norm
    of a term's gradient on each context, taken on the first batch of the first, the middle and
    the last epoch, and `diagnoses[epoch]` what the method's own diagnosis found there. `inactive`
    names the terms that never reach 1 % of the summed norms of all terms on any context. `memory`
    (C, D + 1) is the discriminant of the classes learned, for a method that remembers regions;
    `bridge` (D, 1 + D + E) that of a method that built one, and `held_out` what decided whether
    it did: the shares of held-out classes' regions told right without it and with it.
    """

    contexts: Tensor
    terms: Mapping[str, list[float]]
    gradients: Mapping[int, Mapping[str, list[float]]]
    diagnoses: Mapping[int, Mapping[str, float]]
    inactive: tuple[str, ...]
    memory: NDArray[np.float32] | None = None
    bridge: NDArray[np.float32] | None = None
    held_out: tuple[float, float] | None = None


def train(
    objective: Objective,
    start: Tensor,
    task: Task,
    params: TrainParams,
    picks: Mapping[int, Ints],
    report: Report = silent,
    diagnose: Objective | None = None,
    interim: Interim | None = None,
) -> dict[int, Trained]:
    """Minimise `objective` over the contexts by SGD, as the CoOp family does, for every seed.

    The seeds' runs share nothing but the arithmetic: each has its contexts, images and order,
    and SGD works on each number alone. Taking them in one pass spares most of the overhead of
    small models.

    Args:
        objective: of the method.
        start: contexts (K, M, W) that every seed starts from, where the task is.
        task: what to learn from.
        params: the optimiser and its schedule.
        picks: for each seed the images (I,) to learn from, equally many; the seed decides the
            order of images and crops.
        report: follows the epochs.
        diagnose: asked where gradients are probed; it takes what the objective takes.
        interim: keeps where the training stands, so that it goes on if it was interrupted.

    Returns:
        The outcome for each seed.
    """
    contexts = start.repeat(len(picks), 1, 1, 1).requires_grad_()  # (S, K, M, W)
    optimiser = torch.optim.SGD(
        [contexts], lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
    )
    probed = {0, params.epochs // 2, params.epochs - 1}
    run = _Run(contexts, optimiser)
    if interim is not None and (standing := interim.load()) is not None:
        run.restore(standing)
    for epoch in range(run.epoch, params.epochs):
        optimiser.param_groups[0]["lr"] = learning_rate(params, epoch)
        steps = epoch_steps(
            picks, crops=task.crops, batch=params.batch, epoch=epoch, start=run.step
        )
        found = in_order(task.features, [torch.from_numpy(rows) for _, rows in steps])
        for (images, rows), (student, teacher) in zip(steps, found, strict=True):
            known = _batch(task, torch.from_numpy(images), torch.from_numpy(rows), student, teacher)
            batch, text = _encode(task.text, contexts, known)
            terms = objective(batch, text, task.scale)
            if epoch in probed and not run.step:
                run.gradients[epoch] = gradient_norms(terms, contexts)
                if diagnose is not None:
                    with torch.no_grad():
                        run.diagnoses[epoch] = dict(diagnose(batch, text, task.scale))
            optimiser.zero_grad()
            torch.stack(tuple(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            run.add(terms)
            if interim is not None:
                interim.save_if_due(run.standing)
        run.close_epoch()
        report(epoch + 1, params.epochs)
    if interim is not None:
        interim.finish(run.standing)
    learned = contexts.detach().cpu()
    curves = {name: torch.stack(values, dim=1).tolist() for name, values in run.means.items()}
    return {
        seed: _outcome(learned[number], curves, run.gradients, run.diagnoses, number)
        for number, seed in enumerate(picks)
    }


class _Run:
    """What changes while a training runs, so that it can be put down and taken up again."""

    def __init__(self, contexts: Tensor, optimiser: torch.optim.SGD) -> None:
        self._contexts, self._optimiser = contexts, optimiser
        self.epoch = self.step = 0
        self._sums: dict[str, Tensor] = {}
        self.means: dict[str, list[Tensor]] = {}
        self.gradients: dict[int, dict[str, Tensor]] = {}
        self.diagnoses: dict[int, dict[str, Tensor]] = {}

    def add(self, terms: Terms) -> None:
        """Count a step."""
        self._sums = {name: self._sums.get(name, 0) + one.detach() for name, one in terms.items()}
        self.step += 1

    def close_epoch(self) -> None:
        """Note the means of the epoch's terms, and begin the next."""
        for name, total in self._sums.items():
            self.means.setdefault(name, []).append(total / self.step)
        self.epoch, self.step, self._sums = self.epoch + 1, 0, {}

    def standing(self) -> Standing:
        """Return all that the steps to come and the outcome depend on."""
        found = {_CONTEXTS: self._contexts}
        momentum = self._optimiser.state[self._contexts].get(_MOMENTUM)
        if momentum is not None:
            found[_MOMENTUM] = momentum
        found |= {f"sums/{name}": total for name, total in self._sums.items()}
        found |= {f"means/{name}": torch.stack(values) for name, values in self.means.items()}
        for kind in ("gradients", "diagnoses"):
            for epoch, values in getattr(self, kind).items():
                found |= {f"{kind}/{epoch}/{name}": value for name, value in values.items()}
        return Standing(self.epoch, self.step, found)

    def restore(self, standing: Standing) -> None:
        """Take up what `standing` returned."""
        self.epoch, self.step = standing.epoch, standing.step
        here = {name: one.to(self._contexts.device) for name, one in standing.tensors.items()}
        with torch.no_grad():
            self._contexts.copy_(here.pop(_CONTEXTS))
        if _MOMENTUM in here:
            self._optimiser.state[self._contexts][_MOMENTUM] = here.pop(_MOMENTUM)
        for path, value in here.items():
            kind, *place, name = path.split("/")
            if kind == "sums":
                self._sums[name] = value
            elif kind == "means":
                self.means[name] = list(value)
            else:
                getattr(self, kind).setdefault(int(place[0]), {})[name] = value


def _encode(
    text: TextEncoder | LikeliestText, contexts: Tensor, batch: Batch
) -> tuple[Batch, Tensor]:
    """Return the batch and the text features (S, K, C, D) of contexts (S, K, M, W)."""
    if isinstance(text, LikeliestText):
        return text(contexts, batch)
    features = text(contexts.flatten(0, 1))
    return batch, features.view(*contexts.shape[:2], *features.shape[1:])


def _batch(task: Task, images: Tensor, rows: Tensor, student: Tensor, teacher: Tensor) -> Batch:
    """Return what is known of the regions `rows` (S, B) of the images (S, B)."""
    areas = None if task.areas is None else task.areas(rows)
    return Batch(
        student=student,
        teacher=task.teacher.log_probabilities(teacher),
        labels=moved(task.labels[images], task.device),
        anchors=task.anchors,
        areas=None if areas is None else moved(areas, task.device),
    )


def _outcome(
    contexts: Tensor,
    curves: Mapping[str, list[list[float]]],
    gradients: Mapping[int, Mapping[str, Tensor]],
    diagnoses: Mapping[int, Mapping[str, Tensor]],
    run: int,
) -> Trained:
    norms = {
        epoch: {name: norm[run].tolist() for name, norm in terms.items()}
        for epoch, terms in gradients.items()
    }
    return Trained(
        contexts=contexts,
        terms={name: values[run] for name, values in curves.items()},
        gradients=norms,
        diagnoses={
            epoch: {name: float(value[run]) for name, value in found.items()}
            for epoch, found in diagnoses.items()
        },
        inactive=inactive_terms(norms),
    )


def gradient_norms(terms: Terms, contexts: Tensor) -> dict[str, Tensor]:
    """Return the norms (S, K) of each term's gradient on each of the contexts (S, K, M, W)."""
    norms = {}
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(
            term.sum(), contexts, retain_graph=True, materialize_grads=True
        )
        norms[name] = gradient.flatten(2).norm(dim=2)
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
