"""Stage 4: accuracies of every method on the base and the new classes. No model, no torch."""

from pathlib import Path
from typing import Any

import numpy as np

from fdbpl.artifact import Artifact, decision_of
from fdbpl.cache.cache import Cache
from fdbpl.errors import UserError
from fdbpl.evaluation import accuracy_of_scores, base_to_new
from fdbpl.files import readable_json, write_whole
from fdbpl.fitted import Shots, gda, linear_probe, tip_adapter
from fdbpl.methods.names import FITTED, TRAINED
from fdbpl.params import Params
from fdbpl.plan import TEST, Plan
from fdbpl.stages.caches import open_caches, untrained
from fdbpl.workspace import Workspace


def evaluate(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write a dataset's accuracies, in per cent, for every method and seed.

    Raises:
        UserError: a cache or classifier is missing, damaged or of another plan or model.
    """
    plan = Plan.load(work.plan(dataset))
    teacher, student = open_caches(params, plan, work)
    labels = plan.images["label"][plan.images["split"] == TEST]
    seen = student.column("test")
    results: dict[str, Any] = {}
    for method in params.methods:
        seeds: dict[str, Any] = {}
        for seed in params.seeds:
            if method in FITTED:
                seeds[str(seed)] = _fit(method, plan, student, seed)
                continue
            source = {}
            if method in TRAINED:
                classifier = learned_classifier(
                    work.learned(dataset, method, seed, "classifier"), plan
                )
                features, decision = seen, decision_of(classifier)
                source = {"prompts": classifier.about["prompts"]}
            else:
                features, decision = untrained(method, teacher, student)
            accuracies = base_to_new(features, labels, decision, plan.base, plan.new)
            seeds[str(seed)] = {**accuracies, **source}
        results[method] = {"seeds": seeds}
    record = {
        "dataset": dataset,
        "protocol": "base-to-new",
        "classes": {"base": len(plan.base), "new": len(plan.new)},
        "test_images": {
            "base": int((labels[:, None] == list(plan.base)).any(axis=1).sum()),
            "new": int((labels[:, None] == list(plan.new)).any(axis=1).sum()),
        },
        "plan": plan.digest,
        "methods": results,
    }
    write_whole(work.metrics(dataset), readable_json(record))
    return [f"{dataset}: {len(results)} methods evaluated on {len(labels):,} test images"]


def _fit(method: str, plan: Plan, student: Cache, seed: int) -> dict[str, Any]:
    """Fit a classifier to the seed's shots; test it on the base classes, all that it knows."""
    base, rows = np.asarray(plan.base), list(plan.shots[seed])
    regions = student.column("train")
    shots = Shots(
        features=regions.reshape(-1, plan.crops, regions.shape[-1])[rows],
        labels=np.searchsorted(base, plan.images["label"][rows]),
    )
    labels = plan.images["label"][plan.test]
    of_base = np.isin(labels, base)
    features = student.column("test")[of_base]
    about = {}
    if method == "linear_probe":
        probe = linear_probe(shots)
        scores, about = probe.scores(features), {"penalty": probe.penalty}
    else:
        scale = student.manifest.identity.model["logit_scale"]
        written = student.text("template")[base]
        if method == "tip_adapter":
            scores = tip_adapter(shots, features, written, scale)
        else:
            scores = gda(shots, features, written, scale)
    on_base = accuracy_of_scores(scores, np.searchsorted(base, labels[of_base]))
    return {"base": on_base, "new": None, "h": None, **about}


def learned_classifier(path: Path, plan: Plan) -> Artifact:
    """Load a classifier that was learned under this plan, and under no other.

    Raises:
        UserError: it is missing, damaged or of another plan.
    """
    classifier = Artifact.load(path, "classifier")
    if classifier.about["plan"] != plan.digest:
        raise UserError(
            f"{path}: learned under plan {classifier.about['plan'][:12]}, wanted "
            f"{plan.digest[:12]}. Run train-student {plan.name} again."
        )
    return classifier
