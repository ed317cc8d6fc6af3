"""Stage 4: accuracies of every method on the base and the new classes. No model, no torch."""

from pathlib import Path
from typing import Any

from fdbpl.artifact import Artifact
from fdbpl.errors import UserError
from fdbpl.evaluation import base_to_new
from fdbpl.files import readable_json, write_whole
from fdbpl.methods.names import TRAINED
from fdbpl.params import Params
from fdbpl.plan import TEST, Plan
from fdbpl.stages.caches import open_caches
from fdbpl.workspace import Workspace


def evaluate(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write a dataset's accuracies, in per cent, for every method and seed.

    Raises:
        UserError: a cache or classifier is missing, damaged or of another plan or model.
    """
    plan = Plan.load(work.plan(dataset))
    teacher, student = open_caches(params, plan, work)
    labels = plan.images["label"][plan.images["split"] == TEST]
    seen, known = student.column("test"), teacher.column("test")
    untrained = {
        "zero_shot": (seen, student.text("template")),
        "zero_shot_generic": (seen, student.text("generic")),
        "teacher": (known, teacher.text("template")),
    }
    results: dict[str, Any] = {}
    for method in params.methods:
        seeds: dict[str, Any] = {}
        for seed in params.seeds:
            source = {}
            if method in TRAINED:
                classifier = _classifier(work.learned(dataset, method, seed, "classifier"), plan)
                features, vectors = seen, classifier.arrays["positive"]
                source = {"prompts": classifier.about["prompts"]}
            else:
                features, vectors = untrained[method]
            accuracies = base_to_new(features, labels, vectors, plan.base, plan.new)
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


def _classifier(path: Path, plan: Plan) -> Artifact:
    """Load a classifier that was learned under this plan, and under no other."""
    classifier = Artifact.load(path, "classifier")
    if classifier.about["plan"] != plan.digest:
        raise UserError(
            f"{path}: learned under plan {classifier.about['plan'][:12]}, wanted "
            f"{plan.digest[:12]}. Run train-student {plan.name} again."
        )
    return classifier
