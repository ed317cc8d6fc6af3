"""The training loop that all methods share: regions in, tensors out, nothing else changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fdbpl.methods.batch import Terms
from fdbpl.methods.method import Method
from fdbpl.methods.params import TrainParams
from fdbpl.methods.training_data import TrainingData
from fdbpl.system.progress import Report, silent
from fdbpl.training.checkpoint import Checkpoint, State
from fdbpl.training.checks import require_finite
from fdbpl.training.schedule import epoch_steps, learning_rate

INACTIVE_SHARE = 0.01


@dataclass(frozen=True)
class Trained:
    """One seed's tensors by name, learned and fixed, and what happened on the way.

    `terms[name]` is the mean of each term in every epoch. `gradients[epoch][name]` holds the norm
    of a term's gradient on each learned tensor, taken on the first batch of the first, the middle
    and the last epoch, and `diagnoses[epoch]` what the method's own diagnosis found there.
    `inactive` names the terms that never reach 1 % of the summed norms of all terms on any tensor.
    """

    tensors: Mapping[str, Tensor]
    terms: Mapping[str, list[float]]
    gradients: Mapping[str, Mapping[str, list[float]]]
    diagnoses: Mapping[str, Mapping[str, float]]
    inactive: tuple[str, ...]


def train(
    method: Method,
    data: TrainingData,
    params: TrainParams,
    seeds: Sequence[int],
    report: Report = silent,
    checkpoint: Checkpoint | None = None,
) -> dict[int, Trained]:
    """Minimise a method's loss over its tensors, for several seeds in one pass.

    The seeds' runs share nothing but the arithmetic: each has its tensors, images and order, and
    the optimiser works on each number alone. Taking them in one pass spares most of the overhead
    of small models.

    Args:
        method: one that takes steps.
        data: what to learn from; a seed decides the order of its images and crops.
        params: the schedule, as the method's `recipe` gives it.
        seeds: of `data.picks`.
        report: follows the epochs.
        checkpoint: keeps where the training stands, so that it goes on if it was interrupted.

    Returns:
        The outcome for each seed.

    Raises:
        UserError: a loss or a tensor is not finite any more; named as soon as its epoch is over.
    """
    starts = [method.start(data, seed) for seed in seeds]
    learned = _stacked([start.learned for start in starts], data.device)
    fixed = _stacked([start.fixed for start in starts], data.device)
    for one in learned.values():
        one.requires_grad_()
    tensors = {**learned, **fixed}
    optimiser = method.optimiser(list(learned.values()), params)
    probed = {0, params.epochs // 2, params.epochs - 1}
    picks = {seed: data.picks[seed] for seed in seeds}
    weights = method.epoch_weights(params)
    run = _Run(learned, fixed, optimiser, averages=weights is not None)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        run.restore(state)
    for epoch in range(run.epoch, params.epochs):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(params, epoch)
        steps = epoch_steps(
            picks, crops=data.regions.crops, batch=params.batch, epoch=epoch, start=run.step
        )
        for batch in data.batches(steps, method.image_layer):
            terms = method.loss(tensors, batch, data)
            if epoch in probed and not run.step:
                run.gradients[epoch] = gradient_norms(terms, list(learned.values()))
                with torch.no_grad():
                    diagnosis = method.diagnose(tensors, batch, data)
                if diagnosis:
                    run.diagnoses[epoch] = dict(diagnosis)
            optimiser.zero_grad()
            torch.stack(tuple(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            run.add(terms)
            if checkpoint is not None:
                checkpoint.save_if_due(run.state)
        run.close_epoch(0.0 if weights is None else weights[epoch])
        last = [values[-1] for values in run.means.values()]
        require_finite(method.name, seeds, [*last, *learned.values()], epoch, params)
        report(epoch + 1, params.epochs)
    if checkpoint is not None:
        checkpoint.finish(run.state)
    kept = {name: one.detach().cpu() for name, one in {**tensors, **run.average}.items()}
    curves = {name: torch.stack(values, dim=1).tolist() for name, values in run.means.items()}
    return {
        seed: _outcome(
            {name: one[number] for name, one in kept.items()},
            {name: values[number] for name, values in curves.items()},
            run,
            number,
        )
        for number, seed in enumerate(seeds)
    }


def _stacked(starts: Sequence[Mapping[str, Tensor]], device: torch.device) -> dict[str, Tensor]:
    """Return the seeds' tensors by name (S, ...), on a device."""
    return {name: torch.stack([one[name] for one in starts]).to(device) for name in starts[0]}


class _Run:
    """What changes while a training runs, so that it can be put down and taken up again."""

    def __init__(
        self,
        learned: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        *,
        averages: bool,
    ) -> None:
        self._learned, self._fixed, self._optimiser = learned, fixed, optimiser
        # over epochs, of what is learned
        self.average = {name: torch.zeros_like(one) for name, one in learned.items() if averages}
        self.epoch = self.step = 0
        self._sums: dict[str, Tensor] = {}
        self.means: dict[str, list[Tensor]] = {}
        self.gradients: dict[int, dict[str, Tensor]] = {}
        self.diagnoses: dict[int, dict[str, Tensor]] = {}

    def add(self, terms: Terms) -> None:
        """Count a step."""
        self._sums = {name: self._sums.get(name, 0) + one.detach() for name, one in terms.items()}
        self.step += 1

    def close_epoch(self, weight: float) -> None:
        """Note the means of the epoch's terms, and its tensors by a weight; begin the next."""
        for name, total in self.average.items():
            total.add_(self._learned[name].detach(), alpha=weight)
        for name, total in self._sums.items():
            self.means.setdefault(name, []).append(total / self.step)
        self.epoch, self.step, self._sums = self.epoch + 1, 0, {}

    def state(self) -> State:
        """Return all that the steps to come and the outcome depend on."""
        found = {f"learned/{name}": one for name, one in self._learned.items()}
        for name, one in self._learned.items():
            for key, value in self._optimiser.state[one].items():
                if value is not None:
                    found[f"optimiser/{name}/{key}"] = torch.as_tensor(value)
        found |= {f"fixed/{name}": one for name, one in self._fixed.items()}
        found |= {f"average/{name}": one for name, one in self.average.items()}
        found |= {f"sums/{name}": total for name, total in self._sums.items()}
        found |= {f"means/{name}": torch.stack(values) for name, values in self.means.items()}
        for kind in ("gradients", "diagnoses"):
            for epoch, values in getattr(self, kind).items():
                found |= {f"{kind}/{epoch}/{name}": value for name, value in values.items()}
        return State(self.epoch, self.step, found)

    def restore(self, state: State) -> None:
        """Take up what `state` returned."""
        self.epoch, self.step = state.epoch, state.step
        tensors = {"learned": self._learned, "fixed": self._fixed, "average": self.average}
        for path, found in state.tensors.items():
            kind, *place, name = path.split("/")
            if kind in tensors:
                with torch.no_grad():
                    tensors[kind][name].copy_(found)
            elif kind == "optimiser":
                one = self._learned[place[0]]
                value = found if name == "step" else found.to(one.device)
                self._optimiser.state[one][name] = value
            else:
                self._restore(kind, place, name, found)

    def _restore(self, kind: str, place: Sequence[str], name: str, found: Tensor) -> None:
        value = found.to(next(iter(self._learned.values())).device)
        if kind == "sums":
            self._sums[name] = value
        elif kind == "means":
            self.means[name] = list(value)
        else:
            getattr(self, kind).setdefault(int(place[0]), {})[name] = value


def _outcome(
    tensors: Mapping[str, Tensor], terms: Mapping[str, list[float]], run: _Run, number: int
) -> Trained:
    norms = {
        str(epoch): {name: norm[number].tolist() for name, norm in found.items()}
        for epoch, found in run.gradients.items()
    }
    return Trained(
        tensors=tensors,
        terms=terms,
        gradients=norms,
        diagnoses={
            str(epoch): {name: float(value[number]) for name, value in found.items()}
            for epoch, found in run.diagnoses.items()
        },
        inactive=inactive_terms(norms),
    )


def gradient_norms(terms: Terms, learned: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the norms (S, P) of each term's gradient on each of P tensors (S, ...)."""
    norms = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(
            term.sum(), learned, retain_graph=True, materialize_grads=True
        )
        norms[name] = torch.stack([one.flatten(1).norm(dim=1) for one in gradients], dim=1)
    return norms


def inactive_terms(gradients: Mapping[str, Mapping[str, list[float]]]) -> tuple[str, ...]:
    """Name the terms below 1 % of the summed norms on every tensor, at every probe."""
    strongest: dict[str, float] = {}
    for norms in gradients.values():
        totals = np.sum(list(norms.values()), axis=0)
        for name, norm in norms.items():
            shares = np.divide(norm, totals, out=np.zeros(len(totals)), where=totals > 0)
            strongest[name] = max(strongest.get(name, 0.0), float(shares.max()))
    return tuple(name for name, share in strongest.items() if share < INACTIVE_SHARE)
