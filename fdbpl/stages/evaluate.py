"""Stage 4: accuracies of every method, on the base and the new classes. No model, no torch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.artifact import decision_of
from fdbpl.cache.cache import Cache
from fdbpl.evaluation.accuracy import accuracy, base_to_new
from fdbpl.evaluation.fitted import Shots, fit
from fdbpl.methods.decision import Classifies, Decision
from fdbpl.methods.names import FITTED, LABELLED, LEARNED, usable
from fdbpl.regions.plan import Plan
from fdbpl.reporting.tables import TITLES
from fdbpl.settings.params import Params
from fdbpl.settings.weights import about_model
from fdbpl.stages.caches import open_caches, untrained
from fdbpl.stages.learned import open_learned
from fdbpl.stages.made_with import of_evaluation
from fdbpl.stages.planned import load_planned
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.workspace import Workspace

Measure = Callable[[NDArray[Any], Classifies], dict[str, Any]]
"""Test images' features (T, D) and what decides between C classes to accuracies in per cent."""

BASE_TO_NEW, ALL_CLASSES, AGREEMENT = "base-to-new", "all-classes", "teacher-agreement"
"""Protocols: the second where nothing is held back, for images learned from without a class; the
third where no test image has a class either."""


def evaluate(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write a dataset's accuracies, in per cent, for every method and seed.

    Methods that need labels are left out where there are none to learn from.

    Raises:
        UserError: plan, cache or classifier is missing, damaged or of other parameters.
    """
    plan = load_planned(params, dataset, work)
    teacher, student = open_caches(params, plan, work)
    seen = student.features("test")
    protocol, measure = _protocol(plan, teacher)
    methods = _measured(plan, protocol, params.methods)
    results: dict[str, Any] = {}
    decision: Classifies
    about: Mapping[str, Any]
    for method in methods:
        seeds: dict[str, Any] = {}
        for seed in params.seeds:
            features, about = seen, {}
            if method in FITTED:
                decision, about = _fit(method, plan, student, seed)
            elif method in LEARNED:
                classifier = open_learned("classifier", params, plan, work, method, seed)
                decision, about = decision_of(classifier), {"prompts": classifier.about["prompts"]}
            else:
                features, decision = untrained(method, teacher, student)
            seeds[str(seed)] = {**measure(features, decision), **about}
        results[method] = {"seeds": seeds}
    record = {
        "dataset": dataset,
        "protocol": protocol,
        **_counts(plan),
        "plan": plan.digest,
        "left_out": [method for method in params.methods if method not in methods],
        "student": about_model(params.student),
        "methods": results,
        "made_with": of_evaluation(params, dataset),
    }
    write_whole(work.metrics(dataset), readable_json(record))
    labelled = [TITLES[name] for name in params.methods if name in LABELLED]
    if plan.teaches_labels or not labelled:
        return [_summary(plan, protocol, len(results))]
    left_out = f"  left out, since they learn from labels: {', '.join(labelled)}"
    return [_summary(plan, protocol, len(results)), left_out]


def _protocol(plan: Plan, teacher: Cache) -> tuple[str, Measure]:
    labels = plan.images["label"][plan.test]
    if plan.new:
        return BASE_TO_NEW, lambda features, decision: base_to_new(
            features, labels, decision, plan.base, plan.new
        )
    if plan.tests_labels:
        return ALL_CLASSES, lambda features, decision: {
            "accuracy": accuracy(features, labels, decision, plan.base)
        }
    believed = (teacher.features("test") @ teacher.text("template").T).argmax(axis=1)
    return AGREEMENT, lambda features, decision: {
        "agreement": accuracy(features, believed, decision, plan.base)
    }


def _measured(plan: Plan, protocol: str, methods: list[str]) -> list[str]:
    """Return the methods that can be learned and say something when measured."""
    if not len(plan.test):
        return []
    found = usable(methods, labels=plan.teaches_labels)
    return [name for name in found if protocol != AGREEMENT or name != "teacher"]


def _counts(plan: Plan) -> dict[str, dict[str, int]]:
    if not plan.new:
        return {"classes": {"all": len(plan.base)}, "test_images": {"all": len(plan.test)}}
    labels = plan.images["label"][plan.test]
    halves = {"base": plan.base, "new": plan.new}
    return {
        "classes": {half: len(classes) for half, classes in halves.items()},
        "test_images": {
            half: int(np.isin(labels, classes).sum()) for half, classes in halves.items()
        },
    }


def _summary(plan: Plan, protocol: str, methods: int) -> str:
    images = f"{len(plan.test):,}"
    if protocol != AGREEMENT:
        return f"{plan.name}: {methods} methods evaluated on {images} test images"
    if not len(plan.test):
        return f"{plan.name}: no test image and none held out, so there is nothing to evaluate"
    return (
        f"{plan.name}: no test image has a class, so no accuracy is known; agreement with the "
        f"teacher of {methods} methods measured on {images} held-out images"
    )


def _fit(
    method: str, plan: Plan, student: Cache, seed: int
) -> tuple[Classifies, Mapping[str, float]]:
    """Fit a classifier to the seed's labelled shots, beside the dataset's template."""
    base, rows = np.asarray(plan.base), np.asarray(plan.shots[seed])
    regions = rows[:, None] * plan.crops + np.arange(plan.crops)
    shots = Shots(
        features=student.features("train", regions.ravel()).reshape(*regions.shape, -1),
        labels=np.searchsorted(base, plan.images["label"][rows]),
    )
    scale = student.manifest.identity.model["logit_scale"]
    return fit(method, shots, base, Decision(student.text("template"), scale))
