"""Accuracies from features and a decision: one matrix product, without torch."""

from collections.abc import Collection, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision
from fdbpl.system.errors import UserError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def accuracy(
    features: Floats,
    labels: Ints,
    decision: Decision,
    among: Sequence[int],
    of: Sequence[int] | None = None,
) -> float:
    """Return the top-1 accuracy in per cent, in the label space of `among` only.

    Args:
        features: (N, D) unit features of images.
        labels: (N,) labels.
        decision: over all classes, by label.
        among: the labels that compete.
        of: labels among them whose images count; by default all of them.

    Raises:
        UserError: not one label an image, or none of them counts.
    """
    classes, labels = np.asarray(among), np.asarray(labels)
    counted = classes if of is None else np.asarray(of)
    if len(features) != len(labels):
        raise UserError(
            f"{len(features)} rows of features and {len(labels)} labels, wanted one label a row."
        )
    chosen = np.isin(labels, counted)
    if not chosen.any():
        raise UserError(f"none of {len(labels)} labels is one of the {len(counted)} that count.")
    return 100 * float(np.mean(decided(features[chosen], decision, among) == labels[chosen]))


def decided(features: Floats, decision: Decision, among: Sequence[int]) -> Ints:
    """Return the label (N,) of those in `among` that unit features (N, D) are decided to be of."""
    classes = np.asarray(among)
    found: Ints = classes[decision.logits(features, classes).argmax(axis=1)]
    return found


def harmonic_mean(base: float, new: float) -> float:
    """Return H = 2 b n / (b + n), and 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def base_to_new(
    features: Floats, labels: Ints, decision: Decision, base: Sequence[int], new: Sequence[int]
) -> dict[str, Any]:
    """Return base, new and H, each half tested among its own classes only, and `joint`.

    `joint` holds the same where the classes of both halves compete, as they do wherever nobody
    says which half an image is from.
    """
    every, halves = [*base, *new], (base, new)
    return {
        **_pair(*(accuracy(features, labels, decision, half) for half in halves)),
        "joint": _pair(*(accuracy(features, labels, decision, every, half) for half in halves)),
    }


def _pair(base: float, new: float) -> dict[str, float]:
    return {"base": base, "new": new, "h": harmonic_mean(base, new)}


def over_seeds(seeds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over seeds, H of the means, and the sample deviation of the seeds' H.

    `joint` likewise, without a deviation.
    """
    h = [result["h"] for result in seeds.values()]
    return {
        **_averaged(seeds.values()),
        "h_std": stdev(h) if len(h) > 1 else 0.0,  # exactly 0 for equal seeds, unlike numpy's
        "joint": _averaged([result["joint"] for result in seeds.values()]),
    }


def over_datasets(datasets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the averages over datasets: `h` of the averaged halves, as the field publishes.

    `h_mean` is the mean of the datasets' own H. `joint` likewise, without `h_mean`.
    """
    return {
        **_averaged(datasets.values()),
        "h_mean": mean(result["h"] for result in datasets.values()),
        "joint": _averaged([result["joint"] for result in datasets.values()]),
    }


def _averaged(results: Collection[Mapping[str, Any]]) -> dict[str, float]:
    return _pair(*(mean(result[half] for result in results) for half in ("base", "new")))


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
