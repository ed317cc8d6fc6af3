"""Stage 4: accuracies of every method on the base and the new classes. No model, no torch."""

from typing import Any

from fdbpl.artifact import Artifact
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
    untrained = {
        "zero_shot": (student, "template"),
        "zero_shot_generic": (student, "generic"),
        "teacher": (teacher, "template"),
    }
    results: dict[str, Any] = {}
    for method in params.methods:
        seeds: dict[str, Any] = {}
        for seed in params.seeds:
            if method in TRAINED:
                file = work.learned(dataset, method, seed, "classifier")
                classifier = Artifact.load(file, "classifier")
                features = student.column("test")
                vectors = classifier.arrays["positive"]
                source = {"prompts": classifier.about["prompts"]}
            else:
                cache, template = untrained[method]
                features, vectors, source = cache.column("test"), cache.text(template), {}
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
