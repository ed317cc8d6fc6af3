"""What a method learns for each seed: looked up where it was learned before, or else learned."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.methods.method import ClosedForm, Method
from fdbpl.methods.params import TrainParams
from fdbpl.methods.training_data import TrainingData
from fdbpl.system.errors import UserError
from fdbpl.system.progress import Report
from fdbpl.training.loop import Trained, train
from fdbpl.training.store import TrainingStore

Floats = NDArray[np.floating[Any]]

EXACT = ("memory_mb",)  # of the schedule: what no result depends on but by rounding

Parts = tuple[dict[str, Floats], dict[str, Any], tuple[str, ...]]
"""Arrays by name, what a history tells, and keys."""


def joined(first: Parts, second: Parts) -> Parts:
    """Return both."""
    return first[0] | second[0], first[1] | second[1], first[2] + second[2]


def in_closed_form(
    method: Method, data: TrainingData, seed: int, store: TrainingStore | None
) -> Parts:
    """Return what follows from a seed's regions, where no class is known from these alone."""
    found: Parts = ({}, {}, ())
    for form in method.closed_form:
        if data.knows_classes or not form.reads_classes:
            found = joined(found, _once(form, method, data, seed, store))
    return found


def _once(
    form: ClosedForm, method: Method, data: TrainingData, seed: int, store: TrainingStore | None
) -> Parts:
    """Fit a closed form, or look it up.

    Raises:
        UserError: its arrays are not finite.
    """
    what = [type(form).__name__, asdict(form), *_source(form, data)]  # type: ignore[call-overload]
    keys = tuple[str, ...]()
    if store is not None:
        keys = (store.key(what, [type(form)], seed, data.device.type),)
        known = store.get(keys[0])
        if known is not None:
            return known.arrays, known.history, keys
    fitted, told = form.fit(data, seed)
    # laid out as a file gives them: products round otherwise where rows lie otherwise
    arrays = {name: np.ascontiguousarray(one) for name, one in fitted.items()}
    for name, one in arrays.items():
        if not np.isfinite(one).all():
            raise UserError(
                f"method {method.name!r}, seed {seed}: {name!r} of {what[0]} is not finite, wanted "
                f"finite numbers. Change its options, {what[1]}, or leave the method out."
            )
    if store is not None:
        store.put(keys[0], arrays, told)
    return arrays, told, keys


def by_steps(
    method: Method,
    data: TrainingData,
    params: TrainParams,
    store: TrainingStore | None,
    report: Report,
) -> dict[int, Parts]:
    """Return every seed's tensors and history; those that the store lacks are learned in a pass.

    Of a pass of which the store has only a part, all are learned again: how many seeds a pass has
    decides how products round, and what is made again has the bytes that were lost.
    """
    recipe = method.recipe(params)
    if store is None:
        trained = train(method, data, recipe, list(data.picks), report)
        return {seed: (*_told(one), ()) for seed, one in trained.items()}
    schedule = recipe.model_dump(mode="json", exclude=set(EXACT))
    what = ["steps", method.training, schedule, *_source(method, data)]
    keys = {seed: store.key(what, method.learned_by, seed, data.device.type) for seed in data.picks}
    known = {seed: kept for seed, key in keys.items() if (kept := store.get(key))}
    found: dict[int, Parts] = {
        seed: (kept.arrays, kept.history, (keys[seed],)) for seed, kept in known.items()
    }
    missing = {key for seed, key in keys.items() if seed not in known}
    if not missing:
        return found
    seeds = [seed for seed in keys if seed not in known or known[seed].together & missing]
    together = [keys[seed] for seed in seeds]
    checkpoint = store.checkpoint(together)
    trained = train(method, data, recipe, seeds, report, checkpoint)
    for seed, one in trained.items():
        if seed not in known:
            found[seed] = (*_told(one), (keys[seed],))
            store.put(keys[seed], *found[seed][:2], together)
    if checkpoint.resumed is not None:
        store.resumed[method.name] = checkpoint.resumed
    checkpoint.remove()
    return found


def _source(learner: ClosedForm | Method, data: TrainingData) -> list[str]:
    """Return the digest of the source's regions, where they are read."""
    return [data.source.digest] if learner.reads_source and data.source is not None else []


def _told(trained: Trained) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Return a seed's arrays by name, and its history."""
    history = {key: value for key, value in vars(trained).items() if key != "tensors"}
    arrays = {name: tensor.numpy() for name, tensor in trained.tensors.items()}
    return arrays, {**history, "inactive": list(trained.inactive)}
