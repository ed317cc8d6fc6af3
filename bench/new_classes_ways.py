"""Ways to tell new classes from both models' cached features, for `bench.new_classes`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdbpl.cache.cache import open_cache
from fdbpl.methods.bridge import Moments, across
from fdbpl.methods.discriminant import values
from fdbpl.methods.options import PRESETS
from fdbpl.regions.plan import Plan
from fdbpl.training.features import Teacher
from fdbpl.training.refinement import image_knowledge, refined_log_probabilities
from fdbpl.workspace import Workspace

SHARE = PRESETS["fdbpl"].bridge_share
STRONG = 1000.0  # times covariances of many images: beside them ridge and names hardly count
FOLDS = 10  # into which evaluated images are cut
HALF = 0.5  # of the mean that is taken off, and of what whitened vectors add
FOREIGN = 3.0  # weight of the covariances of all datasets' names, of trace one beside the regions'

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Both:
    """A dataset as student and teacher see it: features of regions and test images, and names."""

    plan: Plan
    regions: tuple[Floats, Floats]
    images: tuple[Floats, Floats]
    names: tuple[Floats, Floats]
    generic: Floats
    ensemble: Floats
    teacher_scale: float

    @classmethod
    def open(cls, folder: str, dataset: str) -> "Both":
        """Read the plan and the caches of a dataset."""
        work = Workspace(Path(folder))
        student, teacher = (
            open_cache(work.cache(dataset, role)) for role in ("student", "teacher")
        )
        return cls(
            plan=Plan.load(work.plan(dataset)),
            regions=(student.features("train"), teacher.features("train")),
            images=(student.features("test"), teacher.features("test")),
            names=(student.text("template"), teacher.text("template")),
            generic=student.text("generic"),
            ensemble=student.text("ensemble"),
            teacher_scale=teacher.manifest.identity.model["logit_scale"],
        )

    @cached_property
    def new(self) -> NDArray[np.intp]:
        """The labels of classes never seen."""
        return np.asarray(self.plan.new)

    def rows(self, seed: int) -> NDArray[np.intp]:
        """The regions of a seed's shots."""
        images, crops = np.asarray(self.plan.shots[seed]), self.plan.crops
        return (images[:, None] * crops + np.arange(crops)).ravel()

    def of_shots(self, seed: int) -> Moments:
        """Return the moments of a seed's regions, each by the share of its image that it shows."""
        rows = self.rows(seed)
        student, teacher = (features[rows] for features in self.regions)
        return Moments.of(student, teacher, self.plan.areas(rows))

    def right(self, scores: Floats) -> NDArray[np.bool_]:
        """Return which test images of new classes their scores (n, C) tell rightly."""
        labels = self.plan.images["label"][self.plan.test]
        among = np.isin(labels, self.new)
        chosen = self.new[scores[among][:, self.new].argmax(axis=1)]
        found: NDArray[np.bool_] = chosen == labels[among]
        return found

    def bridged(self, moments: Moments) -> Floats:
        """Return the scores (n, C) of the template and a bridge, as `fdbpl` has them."""
        return self.across(moments.bridge(), SHARE)

    def across(self, bridge: Floats, share: float) -> Floats:
        """Return the scores (n, C) of the template and a share of a bridge (D, 1 + D + E)."""
        plain = self.images[0].astype(np.float64) @ self.names[0].T
        return plain + share * values(across(bridge, *self.names), self.images[0])


OTHERS = "a bridge of the regions of the other ten datasets"

Way = Callable[[Both, int, Sequence[Both]], Floats]
"""A dataset, a seed and all datasets to the scores (n, C) of the test images."""


def _template(one: Both, _seed: int, _every: Sequence[Both]) -> Floats:
    return one.images[0] @ one.names[0].T


def _bridge(one: Both, seed: int, _every: Sequence[Both]) -> Floats:
    return one.bridged(one.of_shots(seed))


def _chosen(one: Both, seed: int, every: Sequence[Both]) -> Floats:
    """Take that of three prompts under which the student's view of regions is the teacher's."""
    rows, base = one.rows(seed), np.asarray(one.plan.base)
    told = np.repeat(_told(one, seed).argmax(axis=1), one.plan.crops)
    weights = one.plan.areas(rows)

    def agreement(vectors: Floats) -> float:
        found = (one.regions[0][rows] @ vectors[base].T).argmax(axis=1)
        return float(weights @ (found == told))

    best = max((one.names[0], one.generic, one.ensemble), key=agreement)
    change = one.images[0].astype(np.float64) @ (best - one.names[0]).T
    return _bridge(one, seed, every) + change


def _centred(one: Both, seed: int, every: Sequence[Both]) -> Floats:
    """Take half of the regions' mean off the images (Zhou et al. 2023, of the images' side)."""
    rows = one.rows(seed)
    mean = np.average(one.regions[0][rows], axis=0, weights=one.plan.areas(rows))
    return _bridge(one, seed, every) - HALF * (mean @ one.names[0].T)


def _whitened(one: Both, seed: int, every: Sequence[Both]) -> Floats:
    """Add what the names tell where the regions of one class do not vary among themselves."""
    rows = one.rows(seed)
    weights = one.plan.areas(rows).astype(np.float64)
    x = one.regions[0][rows].astype(np.float64)
    told = np.repeat(_told(one, seed), one.plan.crops, axis=0) * weights[:, None]
    means = told.T @ x / np.maximum(told.sum(axis=0), 1e-12)[:, None]
    about = x - (told / np.maximum(weights, 1e-12)[:, None]) @ means
    within = (about * weights[:, None]).T @ about / weights.sum()
    u = one.names[0][one.new] - one.names[0][one.new].mean(axis=0)
    ridge = np.trace(within) / len(within) * np.eye(len(within))
    found = np.linalg.solve(within + ridge, u.T).T
    found *= np.sqrt(((u @ within) * u).sum() / ((found @ within) * found).sum())
    added = (one.images[0] - np.average(x, axis=0, weights=weights)) @ found.T
    scores = _bridge(one, seed, every)
    scores[:, one.new] += HALF * added
    return scores


def _told(one: Both, seed: int) -> Floats:
    """Return what the teacher makes of the images (I, B) of a seed's shots."""
    features = torch.from_numpy(one.regions[1][one.rows(seed)]).float()
    base = torch.from_numpy(one.names[1][list(one.plan.base)])
    by_image = features.view(-1, one.plan.crops, features.shape[1])
    log_p = Teacher(base, one.teacher_scale).log_probabilities(by_image)
    parts = refined_log_probabilities(*image_knowledge(by_image, log_p))
    return torch.cat(list(parts)).exp().numpy()


def _pooled(one: Both, seed: int, every: Sequence[Both]) -> Floats:
    return one.bridged(reduce(Moments.__add__, [other.of_shots(seed) for other in every]))


def _named(one: Both, seed: int, every: Sequence[Both]) -> Floats:
    """Let the names of all datasets, as both text towers see them, tell of the map as well."""
    u, t = (
        np.concatenate([other.names[side] - other.names[side].mean(axis=0) for other in every])
        for side in (0, 1)
    )
    weight = FOREIGN / float((u * u).sum())
    bridge = one.of_shots(seed).bridge()
    bridge[:, 1:] += weight * np.hstack([u.T @ u, u.T @ t])
    return one.across(bridge, SHARE)


def _others(one: Both, seed: int, every: Sequence[Both]) -> Floats:
    """Take the other datasets' covariances, each alike, and of its own regions the mean alone."""
    others = [other.of_shots(seed).bridge()[:, 1:] for other in every if other is not one]
    mean = one.of_shots(seed).bridge()[:, :1]
    pooled = np.hstack([mean, STRONG * np.mean(others, axis=0)])
    return one.across(pooled, share=1.0)


def _seen(one: Both, seed: int, _every: Sequence[Both]) -> Floats:
    """Judge each tenth of the evaluated images by a bridge of the other nine tenths."""
    student, teacher = one.images
    fold = np.random.default_rng(seed).permutation(len(student)) % FOLDS
    scores = np.empty((len(student), len(one.names[0])))
    for left in range(FOLDS):
        kept = fold != left
        moments = Moments.of(student[kept], teacher[kept], np.ones(int(kept.sum())))
        mean, covariances = np.split(moments.bridge(), [1], axis=1)
        bridge = np.hstack([mean, STRONG * covariances])
        scores[~kept] = one.across(bridge, share=1.0)[~kept]
    return scores


def _teacher(one: Both, _seed: int, _every: Sequence[Both]) -> Floats:
    return one.images[1] @ one.names[1].T


WRITTEN: Mapping[str, Way] = {
    "the template": _template,
    "the template, with `fdbpl`'s bridge": _bridge,
}
TRIED: Mapping[str, Way] = {
    "of three prompts the one that agrees most with the teacher, with the bridge": _chosen,
    "half of the regions' mean taken off, with the bridge": _centred,
    "class vectors whitened by the regions, with the bridge": _whitened,
    "a bridge of the regions of all datasets": _pooled,
    "names of all datasets for further pairs, with the bridge": _named,
    OTHERS: _others,
    "teacher": _teacher,
}
LIMITS: Mapping[str, Way] = {
    OTHERS: _others,
    "a bridge of other images of the same classes": _seen,
    "teacher": _teacher,
}
