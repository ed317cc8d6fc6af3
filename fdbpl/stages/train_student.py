"""Stage 3: learn every method for every seed, from both models' features of regions."""

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Role
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.methods.features import Lookup
from fdbpl.methods.method import Classes, Method
from fdbpl.methods.registry import IMPORTED, usable
from fdbpl.methods.training_data import TrainingData
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import known_classes, open_caches, roles_of
from fdbpl.stages.imported import bring_in, doubts
from fdbpl.stages.made_with import of_training
from fdbpl.stages.planned import load_planned
from fdbpl.stages.sources import Source, hidden_source, student_source, teacher_source
from fdbpl.system.device import choose_device
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, readable_json, sha256, whole_folder
from fdbpl.system.progress import Report, progress
from fdbpl.system.workspace import Workspace, learned_name
from fdbpl.training.learning import Floats, Learned, learn_method, training_data
from fdbpl.training.store import TrainingStore

REGIONS_AT_ONCE = 1 << 20  # of which boxes are read at a time
IMAGE, REGION = ("hash", "label", "width", "height"), ("box", "flip")  # what of them decides


def train_student(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Learn on the base classes of a dataset; write prompts, classifiers and histories.

    Methods that need labels are left out where there are none to learn from.

    Raises:
        UserError: see `learn_prompts`.
    """
    return learn_prompts(params, dataset, work, params.imported.base_to_new.get(dataset))


def learn_prompts(
    params: Params, dataset: str, work: Workspace, checkpoint: str | None
) -> list[str]:
    """Learn from a dataset's plan, and bring in what was learned elsewhere, from `checkpoint`.

    Raises:
        UserError: a plan or cache is missing, damaged, or made from other parameters or another
            plan; or see `read_checkpoint`.
    """
    plan = load_planned(params, dataset, work)
    listed = params.chosen_methods
    methods = usable(listed, labels=plan.teaches_labels)
    clip = load_model(params.student, "student")
    brought = {  # before the training, which a wrong file shall not cost
        seed: bring_in(checkpoint, plan, seed, clip)
        for seed in (params.seeds if IMPORTED in params.methods else ())
    }
    student = student_source(params, plan, work, clip)
    teacher = teacher_source(params, plan, work)
    sources: dict[Role, Source] = {"student": student}
    if "hidden" in roles_of(params):
        sources["hidden"] = hidden_source(params, plan, work, clip, student)
    sides = {
        role: (
            data_of(params, plan, clip, source, teacher, role),
            TrainingStore(work.trainings, content_of(params, plan, source, teacher)),
        )
        for role, source in sources.items()
    }
    stores = [store for _, store in sides.values()]
    classes = known_classes(plan, open_caches(params, plan, work), clip)
    made_with = {  # of the weights' files as they are now
        (method.name, seed): of_training(plan.made_with, params, dataset, method.name, seed)
        for method in methods
        for seed in params.seeds
    }
    inactive: dict[str, set[str]] = {method.name: set() for method in methods}
    with (
        whole_folder(work.prompts_of(dataset)) as folder,
        progress(f"{dataset}: training") as report,
    ):
        for done, method in enumerate(methods):
            part = _part_of(report, done, len(methods))
            if method.name == IMPORTED:
                runs = {seed: found for seed, (found, _) in brought.items()}
            else:
                data, store = sides.get(method.sees, sides["student"])
                runs = learn_method(method, data, params.train, store, part)
            part(params.train.epochs, params.train.epochs)
            for seed, learned in runs.items():
                about = {
                    **_about(plan, clip, method, seed),
                    **(brought[seed][1] if method.name == IMPORTED else {}),
                    "made_with": made_with[method.name, seed],
                }
                _save(learned, classes, about, folder)
                inactive[method.name].update(learned.history.get("inactive", ()))
    return [
        f"{dataset}: {len(methods)} methods x {len(params.seeds)} seeds: "
        f"{sum(one.learned for one in stores)} trainings, "
        f"{sum(one.looked_up for one in stores)} looked up",
        *([f"  {IMPORTED}: checkpoints of {len(brought)} seeds brought in"] if brought else []),
        *(line for _, origin in brought.values() for line in doubts(origin, len(plan.base))),
        *(line for one in stores for line in _resumed(one.resumed, params.train.epochs)),
        *_left_out(params, plan),
        *(
            f"  {name}: inactive terms (under 1 % of the gradient): {', '.join(sorted(terms))}"
            for name, terms in inactive.items()
            if terms
        ),
    ]


def data_of(
    params: Params,
    plan: Plan,
    clip: ClipModel,
    student: Source,
    teacher: Source,
    role: Role = "student",
) -> TrainingData:
    """Return what methods learn from of a dataset, those that see a role's features."""
    labels = plan.images["label"][: len(plan.regions) // plan.crops]
    return training_data(
        clip,
        plan.learned_names,
        likeliest=params.train.likeliest if plan.vocabulary else None,
        student=student.features,
        teacher=teacher.features,
        teacher_vectors=teacher.learned,
        teacher_scale=_scale(params, clip, teacher),
        labels=np.searchsorted(np.asarray(plan.base), labels),
        anchors=student.learned,
        areas=_areas(plan, held=isinstance(student.features, np.ndarray)),
        crops=plan.crops,
        picks={seed: plan.shots[seed] for seed in params.seeds},
        params=params.train,
        device=choose_device(params.device),
        sees=role,
    )


def _scale(params: Params, clip: ClipModel, teacher: Source) -> float:
    return teacher.logit_scale if params.teacher.logit_scale == "own" else clip.logit_scale


def content_of(params: Params, plan: Plan, student: Source, teacher: Source) -> dict[int, str]:
    """Return for each seed a digest of what it learns from.

    Of the plan that is the content of its own images, their regions and labels, and the names: what
    else was planned, for other seeds or to test on, is none of it.
    """
    found = {}
    for seed in params.seeds:
        shown = hashlib.sha256()
        for part in np.array_split(plan.shots[seed], 1 + len(plan.regions) // REGIONS_AT_ONCE):
            rows = (part[:, None] * plan.crops + np.arange(plan.crops)).ravel()
            for records, fields in ((plan.images[part], IMAGE), (plan.regions[rows], REGION)):
                for field in fields:
                    shown.update(np.ascontiguousarray(records[field]).tobytes())
        names = [list(plan.learned_names), bool(plan.vocabulary), plan.template, plan.crops]
        models = [student.digest, teacher.digest, params.teacher.logit_scale]
        found[seed] = sha256(canonical_json([shown.hexdigest(), names, models]))
    return found


def _areas(plan: Plan, *, held: bool) -> Floats | Lookup:
    """Return the share of its image that each region shows; in memory where features are, too."""
    if not held:
        return lambda rows: torch.from_numpy(plan.areas(rows.numpy()))
    count = len(plan.regions)
    bounds = [*range(0, count, REGIONS_AT_ONCE), count]
    return np.concatenate([plan.areas(np.arange(*part)) for part in pairwise(bounds)])


def _resumed(resumed: Mapping[str, int], epochs: int) -> list[str]:
    """Say where interrupted trainings went on."""
    return [
        f"  {method}: interrupted before, "
        + ("was done" if epoch == epochs else f"went on in epoch {epoch + 1} of {epochs}")
        for method, epoch in resumed.items()
    ]


def _left_out(params: Params, plan: Plan) -> list[str]:
    titles = [one.title for one in params.chosen_methods if one.labelled]
    if plan.teaches_labels or not titles:
        return []
    return [f"  left out, since they learn from labels: {', '.join(titles)}"]


def _part_of(report: Report, done: int, methods: int) -> Report:
    """Follow one method's epochs as a part of all methods' epochs."""
    return lambda epoch, epochs: report(done * epochs + epoch, methods * epochs)


def _about(plan: Plan, clip: ClipModel, method: Method, seed: int) -> dict[str, Any]:
    return {
        "method": method.name,
        "options": method.options.model_dump(mode="json"),
        "student": dict(clip.identity),
        "logit_scale": clip.logit_scale,
        "dataset": plan.name,
        "plan": plan.digest,
        "class_names": list(plan.class_names),
        "template": plan.template,
        "seed": seed,
        **(_learned_from(plan) if method.learns else {"learned_classes": []}),
    }


def _learned_from(plan: Plan) -> dict[str, Any]:
    """Return the classes learned from; of a vocabulary, which may be long, what tells it."""
    if not plan.vocabulary:
        return {"learned_classes": list(plan.learned_names)}
    digest = sha256(canonical_json(list(plan.vocabulary)))
    return {"learned_classes": [], "vocabulary": {"names": len(plan.vocabulary), "sha256": digest}}


def _save(learned: Learned, classes: Classes, about: Mapping[str, Any], folder: Path) -> None:
    """Write the files of one training: what was learned, its history, and what classifies."""
    method, seed = learned.method, about["seed"]
    decision = method.decision(learned.arrays, classes)
    if decision.sees != method.sees:
        raise UserError(
            f"method {method.name!r} sees {method.sees!r}, and its decision {decision.sees!r}. Let "
            "it return Decision(..., sees=self.sees)."
        )
    known = {"kind": "classifier", **about, "decision": decision.spec()}
    if method.learns:
        prompts = Artifact(learned.arrays, {"kind": "prompts", **about})
        known["prompts"] = prompts.save(folder / learned_name(method.name, seed, "prompts"))
        history = {
            "method": method.name,
            "seed": seed,
            "prompts": known["prompts"],
            **{"inactive": [], "terms": {}, "gradients": {}, "diagnoses": {}},
            **learned.history,
        }
        path = folder / learned_name(method.name, seed, "history")
        path.write_bytes(readable_json(history))
    arrays = {**method.vectors(learned.arrays, classes), **decision.arrays()}
    Artifact(arrays, known).save(folder / learned_name(method.name, seed, "classifier"))
