"""Stage 4: accuracies of every method, on the base and the new classes. No model, no torch."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import Cache
from fdbpl.classify.artifact import decision_of
from fdbpl.classify.decision import Decision
from fdbpl.clip.weights import about_model
from fdbpl.evaluation.accuracy import accuracy, base_to_new
from fdbpl.methods.method import Method
from fdbpl.methods.registry import usable
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_caches
from fdbpl.stages.learned import open_learned
from fdbpl.stages.made_with import of_evaluation
from fdbpl.stages.planned import load_planned
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.workspace import Workspace

Measure = Callable[[NDArray[Any], Decision], dict[str, Any]]
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
    caches = open_caches(params, plan, work)
    tests = cache(lambda role: caches[role].features("test"))
    protocol, measure = _protocol(plan, caches["teacher"])
    methods = _measured(plan, protocol, params.chosen_methods)
    results: dict[str, Any] = {}
    for method in methods:
        seeds: dict[str, Any] = {}
        for seed in params.seeds:
            classifier = open_learned("classifier", params, plan, work, method.name, seed)
            decision, about = decision_of(classifier), classifier.about
            prompts = {"prompts": about["prompts"]} if "prompts" in about else {}
            seeds[str(seed)] = {**measure(tests(decision.sees), decision), **prompts}
        results[method.name] = {"seeds": seeds}
    record = {
        "dataset": dataset,
        "protocol": protocol,
        **_counts(plan),
        "plan": plan.digest,
        "left_out": [method for method in params.methods if method not in results],
        "student": about_model(params.student),
        "methods": results,
        "made_with": of_evaluation(params, dataset),
    }
    write_whole(work.metrics(dataset), readable_json(record))
    labelled = [one.title for one in params.chosen_methods if one.labelled]
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


def _measured(plan: Plan, protocol: str, methods: list[Method]) -> list[Method]:
    """Return the methods that can be learned and say something when measured."""
    if not len(plan.test):
        return []
    found = usable(methods, labels=plan.teaches_labels)
    return [one for one in found if protocol != AGREEMENT or one.sees != "teacher"]


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
