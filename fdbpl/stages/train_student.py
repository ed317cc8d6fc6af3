"""Stage 3: learn every method's contexts for every seed, from both models' features of regions."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fdbpl.artifact import MEMORY, Artifact, sides_of
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.files import readable_json, whole_folder
from fdbpl.learning import Floats, class_vectors, learn
from fdbpl.methods.inference import Inference
from fdbpl.methods.names import TRAINED
from fdbpl.methods.table import Method, trained_method
from fdbpl.params import Params
from fdbpl.plan import Plan
from fdbpl.progress import Report, progress
from fdbpl.stages.sources import Source, student_source, teacher_source
from fdbpl.training import Trained
from fdbpl.workspace import Workspace, learned_name


def train_student(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Learn on the base classes of a dataset; write prompts, classifiers and histories.

    Raises:
        UserError: a cache is missing, damaged, or made from another plan, teacher or student.
    """
    plan = Plan.load(work.plan(dataset))
    clip = load_model(params.student, "student")
    student = student_source(params, plan, work, clip)
    task = task_of(params, plan, work, clip, student)
    methods = [name for name in params.methods if name in TRAINED]
    inactive: dict[str, set[str]] = {method: set() for method in methods}
    with (
        whole_folder(work.prompts_of(dataset)) as folder,
        progress(f"{dataset}: training") as report,
    ):
        for done, method in enumerate(methods):
            options = params.objectives.get(method)
            runs = learn(
                clip, **task, method=method, options=options, report=_part_of(report, done, methods)
            )
            for seed, trained in runs.items():
                about = _about(plan, params, clip, trained_method(method, options), seed)
                _save(trained, about, clip, student.vectors, folder)
                inactive[method].update(trained.inactive)
    lines = [f"{dataset}: {len(methods)} methods x {len(params.seeds)} seeds trained"]
    lines += [
        f"  {name}: inactive terms (under 1 % of the gradient): {', '.join(sorted(terms))}"
        for name, terms in inactive.items()
        if terms
    ]
    return lines


def task_of(
    params: Params, plan: Plan, work: Workspace, clip: ClipModel, student: Source
) -> dict[str, Any]:
    """Return what `learn` needs of a dataset, whatever the method."""
    teacher = teacher_source(params, plan, work)
    base = np.asarray(plan.base)
    labels = plan.images["label"][: len(plan.regions) // plan.crops]
    own_scale = params.teacher.logit_scale == "own"
    return {
        "class_names": [plan.class_names[label] for label in base],
        "student": student.features,
        "teacher": teacher.features,
        "teacher_vectors": teacher.vectors[base],
        "teacher_scale": teacher.logit_scale if own_scale else clip.logit_scale,
        "labels": np.searchsorted(base, labels),
        "anchors": student.vectors[base],
        "areas": plan.areas,
        "crops": plan.crops,
        "picks": {seed: plan.shots[seed] for seed in params.seeds},
        "params": params.train,
    }


def _part_of(report: Report, done: int, methods: list[str]) -> Report:
    """Follow one method's epochs as a part of all methods' epochs."""
    return lambda epoch, epochs: report(done * epochs + epoch, len(methods) * epochs)


def _about(
    plan: Plan, params: Params, clip: ClipModel, method: Method, seed: int
) -> dict[str, Any]:
    return {
        "method": method.name,
        "options": dict(method.options),
        "starts": list(method.starts),
        "inference": asdict(method.inference),
        "student": dict(clip.identity),
        "logit_scale": clip.logit_scale,
        "dataset": plan.name,
        "plan": plan.digest,
        "class_names": list(plan.class_names),
        "learned_classes": [plan.class_names[label] for label in plan.base],
        "train": params.train.model_dump(),
        "seed": seed,
    }


def _save(
    trained: Trained, about: dict[str, Any], clip: ClipModel, template: Floats, folder: Path
) -> None:
    """Write the three files of one training."""
    contexts = trained.contexts.cpu()
    vectors = class_vectors(clip, trained.contexts, about["class_names"])
    memory = {} if trained.memory is None else {MEMORY: trained.memory}
    prompts = Artifact({**sides_of(contexts.numpy()), **memory}, {"kind": "prompts", **about})
    decision = Inference(**about["inference"]).classifier(vectors, template)
    classifier = Artifact(
        {**sides_of(vectors), "decision": decision, **memory},
        {"kind": "classifier", "prompts": prompts.digest, **about},
    )
    method, seed = about["method"], about["seed"]
    prompts.save(folder / learned_name(method, seed, "prompts"))
    classifier.save(folder / learned_name(method, seed, "classifier"))
    history = {
        "method": method,
        "seed": seed,
        "prompts": prompts.digest,
        "inactive": list(trained.inactive),
        "terms": trained.terms,
        "gradients": {str(epoch): norms for epoch, norms in trained.gradients.items()},
        "diagnoses": {str(epoch): found for epoch, found in trained.diagnoses.items()},
    }
    (folder / learned_name(method, seed, "history")).write_bytes(readable_json(history))
