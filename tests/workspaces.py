"""An evaluated workspace in a second: real plan, caches, files and accuracies of random vectors."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conftest import draw_folder, unit

from fdbpl.cache import RegionStore, build_cache
from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Decision, Role
from fdbpl.clip.model import load_model
from fdbpl.data.registry import open_dataset
from fdbpl.methods.method import Classes, Method
from fdbpl.methods.prompts import SIDES
from fdbpl.methods.registry import usable
from fdbpl.regions.boxes import REGION
from fdbpl.regions.plan import IMAGE, Plan
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import run_stage
from fdbpl.stages.caches import known_classes, model_of, open_caches, roles_of
from fdbpl.stages.evaluate import measure
from fdbpl.stages.made_with import Record, of_training
from fdbpl.stages.tasks import Task, tasks_of
from fdbpl.system.sealed import sealed_json
from fdbpl.system.workspace import Workspace

DIM = 8
SCALE = 10.0

TINY: dict[str, Any] = {"student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"}}
"""A student that is there, so that what was learned can become a model."""
WIDTHS = {"fdbpl-tiny-student": 128}


@dataclass(frozen=True)
class FakeEncoder:
    """Random unit features, decided by the pixels."""

    name: str
    dim: int = DIM
    batch_size: int = 8

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"architecture": self.name, "precision": "fp32"}

    def pixels(self, image, box, flip) -> np.ndarray:
        return np.asarray(image.resize((4, 4), box=box), np.float32).transpose(2, 0, 1)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [unit(np.random.default_rng(zlib.crc32(one.tobytes())), 1, self.dim) for one in pixels]
        )


def workspace_params(root: Path, datasets: list[str], **changes: Any) -> Params:
    own = {name: {"folder": str(root / "pictures" / name)} for name in datasets}
    raw = {
        "datasets": datasets,
        "protocols": ["base-to-new"],
        "methods": ["zero_shot", "coop", "fdbpl"],
        "seeds": [1, 2],
        "shots": 2,
        "regions": {"per_image": 2},
        "data": {"own": own},
        "student": {"architecture": "small", "weights": "tiny"},
        "teacher": {"architecture": "large", "weights": "tiny"},
        "train": {"epochs": 3},
    }
    return check_params({**raw, **changes})


def evaluated_workspace(root: Path, params: Params) -> Workspace:
    """Run all stages of `params`, with random vectors in place of models."""
    work = Workspace(root)
    for dataset in params.datasets:
        if dataset in params.data.own:
            draw(params, dataset)
        prepare(params, dataset, work)
        train(params, dataset, work)
    for dataset in params.datasets:
        measure(params, dataset, work, carry)
    run_stage("compare", params, work, None)
    return work


def run_of(work: Workspace, dataset: str, protocol: str = "base-to-new") -> Any:
    """What a dataset's record says of a protocol, from the most shots, as plain JSON."""
    record = json.loads(work.metrics(dataset).read_text(encoding="utf-8"))
    return list(record["protocols"][protocol].values())[-1]


def empty_plan(made_with: Record) -> Plan:
    """A plan without images, of four classes of "pets" that are learned."""
    images = np.empty(0, IMAGE)
    names = ("a", "b", "c", "d")
    none: Any = {"paths": (), "shots": {}, "ranks": {}, "policy": {}, "notes": {}}
    labels = tuple(range(len(names)))
    regions = np.empty(0, REGION)
    return Plan(
        "pets", names, "{}", labels, images=images, regions=regions, made_with=made_with, **none
    )


def draw(params: Params, dataset: str) -> None:
    """Draw a dataset of four classes, named for it; "birds-inked" has the classes of "birds"."""
    name, _, style = dataset.partition("-")
    classes = {f"{name} {c}": (3, 2 + len(name) + len(style)) for c in "abcd"}
    draw_folder(Path(params.data.own[dataset].folder), classes)


def carry(prompts: Artifact, method: Method, classes: Classes) -> Decision:
    """Decide by vectors drawn at random from all that is given; without prompts as it is."""
    if not prompts.arrays:
        return method.decision({}, classes)
    known = f"{prompts.digest} {classes.same_domain}"
    written = zip(classes.names, classes.text("template"), classes.teacher, strict=True)
    seeds = [
        zlib.crc32(f"{known} {name}".encode() + vector.tobytes() + told.tobytes())
        for name, vector, told in written
    ]
    dim = classes.text("template").shape[1]
    return Decision(np.concatenate([unit(np.random.default_rng(seed), 1, dim) for seed in seeds]))


def width(params: Params, role: Role) -> int:
    """Of the features of the student, before its projection too, or the teacher."""
    return WIDTHS.get(model_of(params, role).architecture, DIM)


def identity(params: Params) -> dict[str, str]:
    """What tells the student, where it is there."""
    if params.student.architecture not in WIDTHS:
        return {"architecture": params.student.architecture}
    return dict(load_model(params.student, "student").identity)


def prepare(params: Params, dataset: str, work: Workspace) -> None:
    """Plan a dataset, and cache random features of it."""
    run_stage("prepare_crops", params, work, dataset)
    plan = Plan.load(work.plan(dataset))
    for role in roles_of(params):
        name, dim = model_of(params, role).architecture, width(params, role)
        vectors = unit(np.random.default_rng(0), len(plan.class_names), dim)
        build_cache(
            plan,
            open_dataset(dataset, params.data).folder,
            FakeEncoder(name, dim),
            RegionStore(str(work.root / "store")),
            work.cache(dataset, role),
            kind=role,
            model={"source": "tiny", "logit_scale": SCALE},
            payload=params.cache.payload,
            text={
                **dict.fromkeys(("template", "generic", "ensemble"), vectors),
                "negative": -vectors,
            },
        )


def train(params: Params, dataset: str, work: Workspace, draw: str = "") -> None:
    """Write what training writes, drawn at random from the names, the learning rate and `draw`."""
    work.prompts_of(dataset).mkdir(parents=True, exist_ok=True)
    for task in tasks_of(params, Plan.load(work.plan(dataset))):
        _train(params, task, work, draw)


def _train(params: Params, task: Task, work: Workspace, draw: str) -> None:
    plan, dataset, dim = task.plan, task.plan.name, width(params, "student")
    student = identity(params)
    classes = known_classes(plan, open_caches(params, plan, work))
    for method in usable(params.chosen_methods, labels=plan.teaches_labels):
        for seed in params.seeds:
            starts = getattr(getattr(method, "inner", method), "starts", ())
            name, sides = method.name, SIDES[: len(starts)]
            about = {
                **task.identity(name, seed),
                "options": method.options.model_dump(mode="json"),
                "student": student,
                "template": plan.template,
                "logit_scale": SCALE,
                "plan": plan.digest,
                "class_names": list(plan.class_names),
                "learned_classes": list(task.names) if method.learns else [],
                "made_with": of_training(params, task, name, seed),
            }
            said = f"{dataset} {task.folder} {name} {seed} {params.train.lr} {draw}"
            rng = np.random.default_rng(zlib.crc32(said.encode()))
            vectors: dict[str, np.ndarray] = {}
            decision = None if method.learns else method.decision({}, classes)
            if decision is None:
                contexts = {name: unit(rng, 4, dim) for name in sides or ("rows",)}
                prompts = Artifact(contexts, {"kind": "prompts", **about})
                vectors = {side: unit(rng, len(plan.class_names), dim) for side in sides}
                decided = vectors.get("positive", unit(rng, len(plan.class_names), dim))
                decision = Decision(decided, SCALE)
                place = work.learned(dataset, task.folder, name, seed, "prompts")
                about["prompts"] = prompts.save(place)
                history = {
                    **task.identity(name, seed),
                    "prompts": prompts.digest,
                    "inactive": [],
                    "terms": {"cross_entropy": rng.random(params.train.epochs).tolist()},
                    "gradients": {"0": {"cross_entropy": rng.random(1).tolist()}},
                }
                path = work.learned(dataset, task.folder, name, seed, "history")
                path.write_bytes(sealed_json(history))
            known = {"kind": "classifier", **about, "decision": decision.spec()}
            file = Artifact({**vectors, **decision.arrays()}, known)
            file.save(work.learned(dataset, task.folder, name, seed, "classifier"))
