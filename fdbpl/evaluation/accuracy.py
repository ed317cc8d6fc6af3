"""Accuracies from features and a decision: one matrix product, without torch."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.errors import UserError
from fdbpl.methods.decision import Decision

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def accuracy(features: Floats, labels: Ints, decision: Decision, among: Sequence[int]) -> float:
    """Return the top-1 accuracy in per cent, in the label space of `among` only.

    Args:
        features: (N, D) unit features of images.
        labels: (N,) labels; images whose label is not in `among` do not count.
        decision: over all classes, by label.
        among: the labels that compete.

    Raises:
        UserError: not one label an image, or none of them is in `among`.
    """
    classes, labels = np.asarray(among), np.asarray(labels)
    if len(features) != len(labels):
        raise UserError(
            f"{len(features)} rows of features and {len(labels)} labels, wanted one label a row."
        )
    chosen = np.isin(labels, classes)
    if not chosen.any():
        raise UserError(f"none of {len(labels)} labels is one of the {len(classes)} that compete.")
    logits = decision.logits(features[chosen], classes)
    return 100 * float(np.mean(classes[logits.argmax(axis=1)] == labels[chosen]))


def accuracy_of_scores(scores: Floats, labels: Ints) -> float:
    """Return the top-1 accuracy in per cent of scores (N, C) for labels (N,) below C."""
    return 100 * float(np.mean(scores.argmax(axis=1) == labels))


def harmonic_mean(base: float, new: float) -> float:
    """Return H = 2 b n / (b + n), and 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def base_to_new(
    features: Floats, labels: Ints, decision: Decision, base: Sequence[int], new: Sequence[int]
) -> dict[str, float]:
    """Return base, new and H, each half tested among its own classes only."""
    on_base = accuracy(features, labels, decision, base)
    on_new = accuracy(features, labels, decision, new)
    return {"base": on_base, "new": on_new, "h": harmonic_mean(on_base, on_new)}


def over_seeds(seeds: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the means over seeds, H of the means, and the sample deviation of the seeds' H.

    All but `base` are None for a method that knows base classes only.
    """
    base, new, h = (_known(seeds, key) for key in ("base", "new", "h"))
    if not new:
        return {"base": mean(base), "new": None, "h": None, "h_std": None}
    return {
        "base": mean(base),
        "new": mean(new),
        "h": harmonic_mean(mean(base), mean(new)),
        "h_std": stdev(h) if len(h) > 1 else 0.0,  # exactly 0 for equal seeds, unlike numpy's
    }


def over_targets(
    seeds: Mapping[str, Mapping[str, float]], source: str, kinds: Mapping[str, str]
) -> dict[str, Any]:
    """Return a transfer's means over seeds, and their averages over targets of a kind.

    Args:
        seeds: for each seed the accuracy on the source and on every target.
        source: the dataset learned on.
        kinds: for each target "cross-dataset" or "shifted".

    Returns:
        `targets`: mean and sample deviation over seeds; `avg`: the source's mean, and the average
        of the targets' means of each kind, None where there is none.
    """
    columns = {name: [accuracies[name] for accuracies in seeds.values()] for name in kinds}
    targets = {
        name: {"mean": mean(column), "std": stdev(column) if len(column) > 1 else 0.0}
        for name, column in columns.items()
    }
    average: dict[str, float | None] = {
        "source": mean(accuracies[source] for accuracies in seeds.values())
    }
    for kind in ("cross-dataset", "shifted"):
        of_kind = [targets[name]["mean"] for name in kinds if kinds[name] == kind]
        average[kind] = mean(of_kind) if of_kind else None
    return {"targets": targets, "avg": average}


def over_datasets(datasets: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the averages over datasets: `h` of the averaged halves, as the field publishes.

    `h_mean` is the mean of the datasets' own H. All but `base` are None for a method that knows
    base classes only.
    """
    base, new, h = (_known(datasets, key) for key in ("base", "new", "h"))
    if not new:
        return {"base": mean(base), "new": None, "h": None, "h_mean": None}
    return {
        "base": mean(base),
        "new": mean(new),
        "h": harmonic_mean(mean(base), mean(new)),
        "h_mean": mean(h),
    }


def _known(results: Mapping[str, Mapping[str, float | None]], key: str) -> list[float]:
    return [value for result in results.values() if (value := result[key]) is not None]
