"""Stage 3: learn every method's contexts for every seed, from both models' features of regions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fdbpl.artifact import BRIDGE, BRIDGED, MEMORY, Artifact, sides_of
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.methods.inference import Inference
from fdbpl.methods.names import FROM_REGIONS, IMPORTED, usable
from fdbpl.methods.table import Method, trained_method
from fdbpl.regions.plan import Plan
from fdbpl.reporting.tables import TITLES
from fdbpl.settings.params import Params
from fdbpl.stages.imported import bring_in, doubts
from fdbpl.stages.made_with import of_training
from fdbpl.stages.planned import load_planned
from fdbpl.stages.sources import Source, student_source, teacher_source
from fdbpl.system.device import choose_device
from fdbpl.system.files import canonical_json, readable_json, sha256, whole_folder
from fdbpl.system.progress import Report, progress
from fdbpl.system.workspace import Workspace, learned_name
from fdbpl.training.digest import training_digest
from fdbpl.training.features import Lookup
from fdbpl.training.interim import Interim
from fdbpl.training.learning import Floats, class_vectors, learn
from fdbpl.training.loop import Trained

REGIONS_AT_ONCE = 1 << 20  # of which boxes are read, where all areas are held


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
    listed = [name for name in params.methods if name in FROM_REGIONS]
    methods = usable(listed, labels=plan.teaches_labels)
    clip = load_model(params.student, "student")
    brought = {  # before the training, which a wrong file shall not cost
        seed: bring_in(checkpoint, plan, seed, clip)
        for seed in (params.seeds if IMPORTED in params.methods else ())
    }
    student = student_source(params, plan, work, clip)
    teacher = teacher_source(params, plan, work)
    task = task_of(params, plan, clip, student, teacher)
    written = Written(student.vectors, teacher.vectors)
    made_with = {  # of the weights' files as they are now
        (method, seed): of_training(plan.made_with, params, dataset, method, seed)
        for method in (*methods, *([IMPORTED] if brought else []))
        for seed in params.seeds
    }
    notes: list[str] = []
    inactive: dict[str, set[str]] = {method: set() for method in methods}
    interims: dict[str, Interim] = {}
    taught: dict[tuple[Any, ...], dict[int, Trained]] = {}
    with (
        whole_folder(work.prompts_of(dataset)) as folder,
        progress(f"{dataset}: training") as report,
    ):
        for done, method in enumerate(methods):
            options = params.objectives.get(method)
            described = trained_method(method, options)
            part = _part_of(report, done, methods)
            interims[method] = Interim(
                work.interim(dataset, method),
                training_digest(params, plan, method, (student.digest, teacher.digest)),
            )
            runs = learn(
                clip,
                **task,
                method=method,
                options=options,
                interim=interims[method],
                taught=taught.get(described.training),
                report=part,
            )
            taught.setdefault(described.training, runs)
            part(params.train.epochs, params.train.epochs)
            for seed, trained in runs.items():
                about = {
                    **_about(plan, clip, seed),
                    **_of_method(described, plan),
                    "made_with": made_with[method, seed],
                }
                _save(trained, about, clip, written, folder)
                inactive[method].update(trained.inactive)
        for seed, (found, origin) in brought.items():
            about = {
                **_about(plan, clip, seed),
                **origin,
                "made_with": made_with[IMPORTED, seed],
            }
            _save(found, about, clip, written, folder)
            notes += doubts(about, len(plan.base))
        if brought:
            notes.insert(0, f"  {IMPORTED}: checkpoints of {len(brought)} seeds brought in")
    for method, interim in interims.items():
        interim.remove()
        notes += _resumed(method, interim.resumed, params.train.epochs)
    lines = [f"{dataset}: {len(methods)} methods x {len(params.seeds)} seeds trained", *notes]
    left_out = [TITLES[name] for name in listed if name not in methods]
    if left_out:
        lines.append(f"  left out, since they learn from labels: {', '.join(left_out)}")
    lines += [
        f"  {name}: inactive terms (under 1 % of the gradient): {', '.join(sorted(terms))}"
        for name, terms in inactive.items()
        if terms
    ]
    return lines


def task_of(
    params: Params, plan: Plan, clip: ClipModel, student: Source, teacher: Source
) -> dict[str, Any]:
    """Return what `learn` needs of a dataset, whatever the method."""
    labels = plan.images["label"][: len(plan.regions) // plan.crops]
    own_scale = params.teacher.logit_scale == "own"
    return {
        "class_names": plan.learned_names,
        "likeliest": params.train.likeliest if plan.vocabulary else None,
        "student": student.features,
        "teacher": teacher.features,
        "teacher_vectors": teacher.learned,
        "teacher_scale": teacher.logit_scale if own_scale else clip.logit_scale,
        "labels": np.searchsorted(np.asarray(plan.base), labels),
        "anchors": student.learned,
        "areas": _areas(plan, held=isinstance(student.features, np.ndarray)),
        "crops": plan.crops,
        "picks": {seed: plan.shots[seed] for seed in params.seeds},
        "params": params.train,
        "device": choose_device(params.device),
    }


def _areas(plan: Plan, *, held: bool) -> Floats | Lookup:
    """Return the share of its image that each region shows; in memory where features are, too."""
    if not held:
        return lambda rows: torch.from_numpy(plan.areas(rows.numpy()))
    count = len(plan.regions)
    bounds = [*range(0, count, REGIONS_AT_ONCE), count]
    return np.concatenate([plan.areas(np.arange(*part)) for part in pairwise(bounds)])


def _resumed(method: str, epoch: int | None, epochs: int) -> list[str]:
    """Say where an interrupted training went on."""
    if epoch is None:
        return []
    where = "was done" if epoch == epochs else f"went on in epoch {epoch + 1} of {epochs}"
    return [f"  {method}: interrupted before, {where}"]


def _part_of(report: Report, done: int, methods: list[str]) -> Report:
    """Follow one method's epochs as a part of all methods' epochs."""
    return lambda epoch, epochs: report(done * epochs + epoch, len(methods) * epochs)


def _about(plan: Plan, clip: ClipModel, seed: int) -> dict[str, Any]:
    return {
        "student": dict(clip.identity),
        "logit_scale": clip.logit_scale,
        "dataset": plan.name,
        "plan": plan.digest,
        "class_names": list(plan.class_names),
        "template": plan.template,
        "seed": seed,
    }


def _of_method(method: Method, plan: Plan) -> dict[str, Any]:
    return {
        "method": method.name,
        "starts": list(method.starts),
        "inference": asdict(method.inference),
        **_learned_from(plan),
    }


def _learned_from(plan: Plan) -> dict[str, Any]:
    """Return the classes learned from; of a vocabulary, which may be long, what tells it."""
    if not plan.vocabulary:
        return {"learned_classes": list(plan.learned_names)}
    digest = sha256(canonical_json(list(plan.vocabulary)))
    return {"learned_classes": [], "vocabulary": {"names": len(plan.vocabulary), "sha256": digest}}


@dataclass(frozen=True)
class Written:
    """Both models' unit vectors (C, D) and (C, E) of all classes under the dataset's template."""

    student: Floats
    teacher: Floats


def _save(
    trained: Trained, about: dict[str, Any], clip: ClipModel, written: Written, folder: Path
) -> None:
    """Write the three files of one training."""
    contexts = trained.contexts.cpu()
    vectors = class_vectors(clip, trained.contexts, about["class_names"])
    inference = Inference(**about["inference"])
    memory, bridge = _there({MEMORY: trained.memory}), _there({BRIDGE: trained.bridge})
    prompts = Artifact(
        {**sides_of(contexts.numpy()), **memory, **bridge}, {"kind": "prompts", **about}
    )
    bridged = inference.bridged(trained.bridge, written.student, written.teacher)
    classifier = Artifact(
        {
            **sides_of(vectors),
            "decision": inference.classifier(vectors, written.student),
            **memory,
            **_there({BRIDGED: bridged}),
        },
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
        **_tried(trained),
    }
    (folder / learned_name(method, seed, "history")).write_bytes(readable_json(history))


def _there(arrays: Mapping[str, Floats | None]) -> dict[str, Floats]:
    return {name: array for name, array in arrays.items() if array is not None}


def _tried(trained: Trained) -> dict[str, Any]:
    """Say how a bridge did on held-out classes, where one was tried."""
    if trained.held_out is None:
        return {}
    without, with_bridge = trained.held_out
    is_built = trained.bridge is not None
    return {"bridge": {"built": is_built, "without": without, "with": with_bridge}}
