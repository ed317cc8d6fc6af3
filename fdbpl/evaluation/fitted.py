"""Classifiers fitted to the labelled regions of the shots, without torch: base classes only.

All read the student's cached features of all regions of each shot, and no test image. Of other
classes they know nothing: there the template's logits stand beside theirs.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.methods.decision import Classifies, Decision, Memory, SideBySide
from fdbpl.methods.discriminant import discriminant

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Strengths of the linear probe's L2 penalty, the strongest first."""
FOLDS = 4
DAMPING = 100
"""Of the probe's coordinates, times the penalty: the loss is curved as the features spread, times
how undecided the samples are, which is about a hundredth at the optimum."""
ENOUGH_FOR_ALL = 2**18
"""Numbers in a step's logits from which BLAS's own choice of threads is used: below it, on a
machine that has anything else to do, threads mostly wait for one another."""
ALPHA, BETA = 1.0, 5.5
"""Tip-Adapter's weight and sharpness, the paper's defaults."""
GDA_SHARE = 0.5
"""Of GDA beside zero-shot: what `fdbpl` gives its memory."""


@dataclass(frozen=True)
class Shots:
    """What a classifier is fitted to.

    Attributes:
        features: (I, K, D) unit features of K regions of I images.
        labels: (I,) for every image its position among C classes, each of which has an image.
    """

    features: Floats
    labels: Ints


@dataclass(frozen=True)
class LinearProbe:
    """Multinomial logistic regression: weights (C, D), bias (C,), and the penalty chosen."""

    weights: Floats
    bias: Floats
    penalty: float

    def scores(self, features: Floats) -> Floats:
        """Return the logits (..., C) of unit features (..., D)."""
        return features @ self.weights.T + self.bias


def fit(
    method: str, shots: Shots, base: Ints, template: Decision
) -> tuple[Classifies, dict[str, float]]:
    """Fit a method to labelled shots; return what classifies, and the penalty of a probe.

    Args:
        method: linear_probe, tip_adapter or gda.
        shots: of the base classes, labelled by their position in `base`.
        base: (B,) the base classes' labels, ascending.
        template: the zero-shot classifier of all classes under the dataset's template.
    """
    if method == "linear_probe":
        probe = linear_probe(shots)
        return SideBySide(probe.scores, base, template), {"penalty": probe.penalty}
    if method == "tip_adapter":
        known = partial(tip_adapter, shots, vectors=template.vectors[base], scale=template.scale)
        return SideBySide(known, base, template), {}
    return gda(shots, base, template), {}


def linear_probe(shots: Shots) -> LinearProbe:
    """Fit CLIP's few-shot linear probe (Radford et al. 2021, appendix A.3), every region a sample.

    The penalty is chosen by cross-validation of FOLDS folds over the images of each class: taken
    ever weaker from the strongest of PENALTIES on, until fewer regions of the images left out are
    classified rightly; the strongest of equals. Where a class has a single image it is the middle
    one.
    """
    folds = min(FOLDS, int(np.bincount(shots.labels).min()))
    penalty = _choose(shots, folds) if folds > 1 else PENALTIES[len(PENALTIES) // 2]
    return fit_probe(shots, penalty)


def fit_probe(shots: Shots, penalty: float, start: LinearProbe | None = None) -> LinearProbe:
    """Minimise mean_n CE(softmax(W f_n + b), y_n) + penalty / 2 ||W||^2 by L-BFGS.

    It steps in the features' principal axes, from their mean, each in units of its spread: there
    the loss is curved about alike in all directions, and several times fewer steps reach the same
    optimum.

    Args:
        shots: all of their regions are samples.
        penalty: > 0, which makes the optimum unique but for a shift of b.
        start: where to start from; zeros by default.
    """
    from scipy.optimize import minimize  # takes a third of a second, and only this needs it
    from threadpoolctl import threadpool_limits

    _, crops, width = shots.features.shape
    labels = np.repeat(shots.labels, crops)
    classes = int(shots.labels.max()) + 1
    wanted = np.eye(classes)[labels]
    features = shots.features.reshape(-1, width).astype(np.float64)
    options = {"maxiter": 1000, "gtol": 1e-5}
    with threadpool_limits(1 if wanted.size < ENOUGH_FOR_ALL else None, user_api="blas"):
        mean = features.mean(axis=0)
        axes, spread = _principal(features - mean, DAMPING * penalty)
        samples = np.hstack([(features - mean) @ axes / spread, np.ones((len(labels), 1))])
        penalties = np.append(penalty / spread**2, 0.0)

        def loss(flat: Floats) -> tuple[float, Floats]:
            parameters = flat.reshape(classes, width + 1)
            logits = samples @ parameters.T
            logits -= logits.max(axis=1, keepdims=True)
            powers = np.exp(logits)
            sums = powers.sum(axis=1, keepdims=True)
            entropy = np.mean(np.log(sums[:, 0]) - logits[np.arange(len(labels)), labels])
            pull = penalties * parameters
            gradient = (powers / sums - wanted).T @ samples / len(labels) + pull
            return float(entropy + np.sum(pull * parameters) / 2), gradient.ravel()

        origin = np.zeros((classes, width + 1))
        if start is not None:
            origin[:, :width] = start.weights @ axes * spread
            origin[:, width] = start.bias + start.weights @ mean
        done = minimize(loss, origin.ravel(), jac=True, method="L-BFGS-B", options=options)
        found = done.x.reshape(classes, width + 1)
        weights = found[:, :width] / spread @ axes.T
        return LinearProbe(weights, found[:, width] - weights @ mean, penalty)


def _principal(centred: Floats, damping: float) -> tuple[Floats, Floats]:
    """Return the principal axes (D, D), one a column, and the damped spread (D,) along each."""
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    return axes, np.sqrt(variances.clip(min=0) + damping)


def _choose(shots: Shots, folds: int) -> float:
    """Return the penalty with the most regions right among those left out."""
    fold_of = _folds(shots.labels, folds)
    probes: list[LinearProbe | None] = [None] * folds
    best, chosen = -1, PENALTIES[0]
    for penalty in PENALTIES:
        right = 0
        for fold in range(folds):
            kept, left = (
                Shots(shots.features[rows], shots.labels[rows])
                for rows in (fold_of != fold, fold_of == fold)
            )
            probe = fit_probe(kept, penalty, start=probes[fold])  # from its neighbour: faster
            found = probe.scores(left.features).argmax(axis=-1)
            right += int(np.sum(found == left.labels[:, None]))
            probes[fold] = probe
        if right < best:
            break
        if right > best:
            best, chosen = right, penalty
    return chosen


def _folds(labels: Ints, folds: int) -> Ints:
    """Return the fold (I,) of every image: the images of each class are dealt out in turn."""
    order = np.argsort(labels, kind="stable")
    ranks = np.empty(len(labels), np.intp)
    starts = np.searchsorted(labels[order], labels[order])
    ranks[order] = np.arange(len(labels)) - starts
    return ranks % folds


def tip_adapter(
    shots: Shots,
    features: Floats,
    vectors: Floats,
    scale: float,
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
) -> Floats:
    """Return training-free Tip-Adapter's scores (Zhang et al. 2022, section 3.1).

    s f U^T + alpha exp(-beta (1 - f F^T)) L: the zero-shot logits, and the labels L (I, C) of the
    shots weighted by how near their keys F (I, D) are. A key is the mean feature of a shot's
    regions, renormalised, as the released code averages over random crops.

    Args:
        shots: the images of the cache model.
        features: f (N, D) unit features to classify.
        vectors: U (C, D) unit vectors of the zero-shot classifier.
        scale: s, the student's logit scale.
        alpha: weight of the cache model.
        beta: its sharpness.

    Returns:
        (N, C).
    """
    features, vectors = features.astype(np.float32), vectors.astype(np.float32)
    keys = shots.features.astype(np.float32).mean(axis=1)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    near = np.exp(-beta * (1 - features @ keys.T))
    wanted = np.eye(len(vectors), dtype=np.float32)[shots.labels]
    return scale * (features @ vectors.T) + alpha * (near @ wanted)


def gda(shots: Shots, base: Ints, template: Decision, *, share: float = GDA_SHARE) -> Decision:
    """Return Gaussian discriminant analysis beside zero-shot (Wang et al. 2024).

    s f U^T + share * g(f), with g the discriminant of the labelled regions of the shots, each of
    them a sample; g is nothing for classes without shots, whatever competes.

    Args:
        shots: of the base classes, labelled by their position in `base`.
        base: (B,) the base classes' labels, ascending.
        template: s and U (C, D), the zero-shot classifier of all classes.
        share: of the discriminant.
    """
    _, crops, width = shots.features.shape
    samples = shots.features.reshape(-1, width)
    labelled = np.eye(len(base))[np.repeat(shots.labels, crops)]
    rows = np.zeros((len(template.vectors), width + 1))
    rows[base] = discriminant([(samples, labelled, np.ones(len(samples)))])
    seen = np.isin(np.arange(len(rows)), base)
    return replace(template, memory=Memory(rows, seen, share, always=True))
