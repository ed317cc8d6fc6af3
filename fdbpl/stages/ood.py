"""OOD detection and calibration of every method, over all datasets with base and new classes."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import Cache
from fdbpl.classify.artifact import decision_of
from fdbpl.classify.decision import Role
from fdbpl.data.registry import is_drawn, open_dataset
from fdbpl.data.splits import halve
from fdbpl.evaluation.logits import Floats, log_softmax
from fdbpl.evaluation.ood import ClassGaussians, Scorer, auroc, fpr95
from fdbpl.methods.knowledge import MEMORY
from fdbpl.methods.registry import usable
from fdbpl.playground.datasets import has_empty_ground
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.regions.plan import Plan
from fdbpl.reporting import ood_report
from fdbpl.reporting.ood_report import EMPTY, FAR, NEAR
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_caches, roles_of
from fdbpl.stages.learned import open_learned
from fdbpl.stages.made_with import of_all
from fdbpl.stages.ood_data import far_images, images_of, region_pairs
from fdbpl.stages.planned import load_planned
from fdbpl.stages.summary import write_summary
from fdbpl.stages.tasks import Task, task_of, testing
from fdbpl.system.workspace import Workspace

Sides = tuple[Floats, Floats]
"""Unit features of ID samples (n, D) and of OOD samples (m, D)."""

NO_DATASET = "No dataset tests base and new classes, so nothing is out of distribution."
NO_METHOD = "No method has class vectors, so there is no OOD score."


def ood(params: Params, work: Workspace) -> list[str]:
    """Write metrics/ood.json, .md and .png; return the table to print.

    Datasets without new classes in their test images take no part, nor do methods without class
    vectors, or whose features no cache has.

    Raises:
        UserError: a plan, cache or classifier is missing, damaged or of other parameters.
    """
    found = samples(params, work)
    seen = roles_of(params)
    listed = [one for one in params.chosen_methods if found and one.transfers and one.sees in seen]
    are_labelled = all(one.plan.teaches_labels for one in found)
    methods = [one.name for one in usable(listed, labels=are_labelled)]
    measured: dict[str, dict[str, dict[int, Any]]] = {}
    for method, one, seed in product(methods, found, params.seeds):
        of_dataset = measured.setdefault(method, {}).setdefault(one.plan.name, {})
        of_dataset[seed] = _measure(one, method, seed, params, work)
    record = ood_report.summarise({one.plan.name: one.counts() for one in found}, measured)
    nothing = "" if methods else NO_METHOD if found else NO_DATASET
    picture = io.BytesIO()
    ood_report.plot(record, picture)
    text = f"{nothing or ood_report.text(record)}\n"
    work.before_writing()
    write_summary(work.ood, {**record, "made_with": of_all(params)}, text, picture.getvalue())
    if nothing:
        return [nothing]
    table = ood_report.scores_table(record).splitlines()
    return [ood_report.CAPTION, "", *table, "", f"Written: {work.ood('json')}, .md, .png"]


@dataclass(frozen=True)
class Samples:
    """A dataset's ID and OOD samples, by kind (EMPTY, NEAR, FAR) and as either model sees them.

    The ID samples of NEAR are the base test images, in the plan's order.
    """

    plan: Plan
    caches: Mapping[Role, Cache]
    sides: Mapping[str, Mapping[Role, Sides]]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many ID and OOD samples there are of each kind."""
        sizes = {kind: map(len, by_role["student"]) for kind, by_role in self.sides.items()}
        return {kind: dict(zip(("id", "ood"), n, strict=True)) for kind, n in sizes.items()}


def _measure(
    samples: Samples, method: str, seed: int, params: Params, work: Workspace
) -> dict[str, Any]:
    """Return the leaves of `ood_report.summarise`, in per cent."""
    plan, task = samples.plan, task_of(params, samples.plan, BASE_TO_NEW, params.counts[-1])
    role, scorer = open_scorer(method, seed, params, task, samples.caches, work)
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for kind, by_role in samples.sides.items():
        in_dist, out_dist = map(scorer, by_role[role])
        for name, scores in in_dist.items():
            sides = scores, out_dist[name]
            measured.setdefault(name, {})[kind] = {"auroc": auroc(*sides), "fpr95": fpr95(*sides)}
    labels = plan.images["label"][images_of(plan, task.labels)]
    ece = scorer.calibration_error(samples.sides[NEAR][role][0], labels)
    return {"ece": {"ece": ece}, "scores": measured}


def open_scorer(
    method: str,
    seed: int,
    params: Params,
    task: Task,
    caches: Mapping[Role, Cache],
    work: Workspace,
) -> tuple[Role, Scorer]:
    """Return whose features a method judges, and its OOD scores over the base classes.

    Raises:
        UserError: see `open_learned`.
    """
    base = list(task.labels)
    decision = decision_of(open_learned("classifier", params, task, work, method, seed))
    negative = None
    if method == "zero_shot_generic":
        negative = caches["student"].text("negative")[base]
    gaussians = None
    if MEMORY in decision.parts:  # of the same regions, by area, and without labels like it
        rows = learned_regions(task, seed)
        features = caches[decision.sees].features("train", rows)
        seen_as = np.exp(log_softmax(decision.logits(features, base)))
        gaussians = ClassGaussians.fit(features, seen_as, task.plan.areas(rows))
    return decision.sees, Scorer(decision, base, gaussians, negative)


def learned_regions(task: Task, seed: int) -> NDArray[np.int64]:
    """Return the rows (R,) of the regions that a seed learns from, among all training regions."""
    images, crops = np.asarray(task.picks[seed], np.int64), task.plan.crops
    rows: NDArray[np.int64] = images[:, None] * crops + np.arange(crops)
    return rows.ravel()


def samples(params: Params, work: Workspace) -> list[Samples]:
    """Return the samples of every dataset with test images of base and of new classes."""
    every = [load_planned(params, name, work) for name in params.datasets]
    plans = {
        plan.name: plan
        for plan in every
        if BASE_TO_NEW in testing(params, plan)
        and all(len(images_of(plan, half)) for half in halve(plan.labels))
    }
    caches: dict[str, dict[Role, Cache]] = {}
    for name, plan in plans.items():
        caches[name] = open_caches(params, plan, work)
    tests = {
        name: {role: cache.features("test") for role, cache in pair.items()}
        for name, pair in caches.items()
    }

    def images(rows: Mapping[str, NDArray[np.int64]], role: Role) -> Floats:
        """Return the features (n, D) of test images, given by dataset and row of its plan."""
        places = {name: np.searchsorted(plans[name].test, wanted) for name, wanted in rows.items()}
        return np.concatenate([tests[name][role][found] for name, found in places.items()])

    sides: dict[str, dict[str, dict[Role, Sides]]] = {
        name: {EMPTY: by_role} for name, by_role in _empty_regions(plans, params).items()
    }
    for name, plan in plans.items():
        base_labels, new_labels = halve(plan.labels)
        base = {name: images_of(plan, base_labels)}
        far = far_images(plan, {other: plans[other] for other in plans if other != name})
        kinds = {NEAR: {name: images_of(plan, new_labels)}, FAR: far}
        for kind, rows in kinds.items():
            if sum(map(len, rows.values())):
                sides.setdefault(name, {})[kind] = {
                    role: (images(base, role), images(rows, role)) for role in roles_of(params)
                }
    return [Samples(plan, caches[name], sides[name]) for name, plan in plans.items()]


def _empty_regions(plans: Mapping[str, Plan], params: Params) -> dict[str, dict[Role, Sides]]:
    """Return features of regions with the main object and of empty ones, of drawings with masks.

    The models are loaded only here, because importing torch takes seconds.
    """
    pairs = {
        name: region_pairs(plan, params.data.world)
        for name, plan in plans.items()
        if is_drawn(name, params.data) and has_empty_ground(name)
    }
    if not pairs:
        return {}
    from fdbpl.cache import RegionStore, region_features
    from fdbpl.stages.cache_teacher import image_encoder
    from fdbpl.system.progress import progress

    store = RegionStore(params.cache.store)
    found: dict[str, dict[Role, Sides]] = {name: {} for name in pairs}
    for role in roles_of(params):
        encoder = image_encoder(params, role)
        for name, (showing, empty) in pairs.items():
            with progress(f"{name}: encoding, {role}") as report:
                features, _ = region_features(
                    replace(plans[name], regions=np.concatenate([showing, empty])),
                    open_dataset(name, params.data).folder,
                    encoder,
                    store,
                    payload=params.cache.payload,
                    progress=report,
                )
            found[name][role] = features[: len(showing)], features[len(showing) :]
    return found
