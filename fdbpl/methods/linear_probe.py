"""Linear probe: multinomial logistic regression on labelled image features, from zero or from text.

It reads the student's cached features of all regions of each shot, and no test image. It knows the
classes learned alone: of all others the template's logits stand beside its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision, Discriminant, by_name
from fdbpl.methods.batch import Floats
from fdbpl.methods.method import Classes, ClosedForm, Method

if TYPE_CHECKING:
    from fdbpl.methods.training_data import TrainingData

Ints = NDArray[np.integer[Any]]

PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Strengths of the L2 penalty, the strongest first."""
FOLDS = 4
DAMPING = 100
"""Preconditioner damping, in penalties: the Hessian scales as the features' variance times
p (1 - p), which is about a hundredth at the optimum."""
ENOUGH_FOR_ALL = 2**18
"""Numbers in a step's logits from which BLAS's own choice of threads is used: below it, on a
machine that has anything else to do, threads mostly wait for one another."""
PROBE = "probe"


class LinearProbe(Method):
    """A linear classifier of the classes learned, beside the template of all others."""

    labelled = True
    transfers = False

    def __init__(self, name: str, title: str, *, from_text: bool = False) -> None:
        """Let its penalty pull to zero, or to the template's weights."""
        super().__init__(name, title)
        self._from_text = from_text

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """Its weights, at the optimum."""
        return (ProbeWeights(self._from_text),)

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return the probe's logits for the classes learned, the template's for all others."""
        rows, seen = by_name(arrays[PROBE], classes.learned, classes.names)
        probe = Discriminant(rows, seen, 1.0, "replaces")
        return Decision(classes.text("template"), classes.scale, {PROBE: probe})


@dataclass(frozen=True)
class ProbeWeights(ClosedForm):
    """Weights and bias (C, D + 1) of the classes learned.

    Attributes:
        from_text: whether the penalty pulls to the weights of zero-shot, the scaled class vectors
            of the template, and not to zero: the penalty of CLAP (Silva-Rodriguez et al. 2024)
            with one strength for all classes, chosen on the shots.
    """

    from_text: bool = False

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Choose the penalty by cross-validation on the seed's shots, and fit to all of them."""
        prior = data.scale * data.class_vectors() if self.from_text else None
        found = fit_chosen(Shots(*data.labelled(seed), prior))
        rows = np.hstack([found.weights, found.bias[:, None]])
        return {PROBE: rows}, {"penalty": found.penalty}


@dataclass(frozen=True)
class Shots:
    """What a classifier is fitted to.

    Attributes:
        features: (I, K, D) unit features of K regions of I images.
        labels: (I,) for every image its position among C classes, each of which has an image.
        prior: (C, D) the weights that the penalty pulls to; None for zeros.
    """

    features: Floats
    labels: Ints
    prior: Floats | None = None

    def of(self, rows: Ints | NDArray[np.bool_]) -> "Shots":
        """Return some of the images."""
        return Shots(self.features[rows], self.labels[rows], self.prior)


@dataclass(frozen=True)
class Probe:
    """Multinomial logistic regression: weights (C, D), bias (C,), and the penalty chosen."""

    weights: Floats
    bias: Floats
    penalty: float

    def scores(self, features: Floats) -> Floats:
        """Return the logits (..., C) of unit features (..., D)."""
        return features @ self.weights.T + self.bias


def fit_chosen(shots: Shots) -> Probe:
    """Fit CLIP's few-shot linear probe (Radford et al. 2021, appendix A.3), every region a sample.

    The penalty is chosen by cross-validation of FOLDS folds over the images of each class: taken
    ever weaker from the strongest on, until fewer regions of the images left out are
    classified rightly; the strongest of equals. Where a class has a single image it is the middle
    one.
    """
    folds = min(FOLDS, int(np.bincount(shots.labels).min()))
    penalty = _choose(shots, folds) if folds > 1 else PENALTIES[len(PENALTIES) // 2]
    return fit_probe(shots, penalty)


def fit_probe(shots: Shots, penalty: float, start: Probe | None = None) -> Probe:
    """Minimise mean_n CE(softmax(W f_n + b), y_n) + penalty / 2 ||W - W0||^2 by L-BFGS.

    W0 is the prior of the shots. It steps in the features' principal axes, from their mean, each in
    units of its spread: there the loss is curved about alike in all directions, and several times
    fewer steps reach the same optimum.

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
    prior = np.zeros((classes, width)) if shots.prior is None else shots.prior.astype(np.float64)
    options = {"maxiter": 1000, "gtol": 1e-5}
    with threadpool_limits(1 if wanted.size < ENOUGH_FOR_ALL else None, user_api="blas"):
        mean = features.mean(axis=0)
        axes, spread = _principal(features - mean, DAMPING * penalty)
        samples = np.hstack([(features - mean) @ axes / spread, np.ones((len(labels), 1))])
        penalties = np.append(penalty / spread**2, 0.0)
        known = features @ prior.T

        def loss(flat: Floats) -> tuple[float, Floats]:
            parameters = flat.reshape(classes, width + 1)
            logits = samples @ parameters.T + known
            logits -= logits.max(axis=1, keepdims=True)
            powers = np.exp(logits)
            sums = powers.sum(axis=1, keepdims=True)
            entropy = np.mean(np.log(sums[:, 0]) - logits[np.arange(len(labels)), labels])
            pull = penalties * parameters
            gradient = (powers / sums - wanted).T @ samples / len(labels) + pull
            return float(entropy + np.sum(pull * parameters) / 2), gradient.ravel()

        origin = np.zeros((classes, width + 1))
        if start is not None:
            before = start.weights - prior
            origin[:, :width] = before @ axes * spread
            origin[:, width] = start.bias + before @ mean
        done = minimize(loss, origin.ravel(), jac=True, method="L-BFGS-B", options=options)
        found = done.x.reshape(classes, width + 1)
        weights = found[:, :width] / spread @ axes.T
        return Probe(prior + weights, found[:, width] - weights @ mean, penalty)


def _principal(centred: Floats, damping: float) -> tuple[Floats, Floats]:
    """Return the principal axes (D, D), one a column, and the damped spread (D,) along each."""
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    return axes, np.sqrt(variances.clip(min=0) + damping)


def _choose(shots: Shots, folds: int) -> float:
    """Return the penalty with the most regions right among those left out."""
    fold_of = _folds(shots.labels, folds)
    probes: list[Probe | None] = [None] * folds
    best, chosen = -1, PENALTIES[0]
    for penalty in PENALTIES:
        right = 0
        for fold in range(folds):
            kept, left = shots.of(fold_of != fold), shots.of(fold_of == fold)
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
