"""An evaluated workspace in a second: real plan, caches, files and accuracies of random vectors."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conftest import draw_folder, unit

from fdbpl.cache import RegionStore, build_cache
from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Decision
from fdbpl.data.registry import open_dataset
from fdbpl.methods.method import Classes, Method
from fdbpl.methods.prompts import SIDES
from fdbpl.methods.registry import usable
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import run_stage
from fdbpl.stages.caches import known_classes, open_caches
from fdbpl.stages.made_with import of_training
from fdbpl.stages.prepare_crops import save_plan
from fdbpl.stages.targets import own_targets
from fdbpl.stages.transfer import measure_transfer
from fdbpl.system.files import readable_json
from fdbpl.system.workspace import Workspace

DIM = 8
SCALE = 10.0


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
            [unit(np.random.default_rng(zlib.crc32(one.tobytes())), 1, DIM) for one in pixels]
        )


def workspace_params(root: Path, datasets: list[str], **changes: Any) -> Params:
    targets = (changes.get("transfer") or {}).get("targets", [])
    own = {name: {"folder": str(root / "pictures" / name)} for name in [*datasets, *targets]}
    raw = {
        "datasets": datasets,
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
        run_stage("evaluate", params, work, dataset)
    if params.transfer:
        prepare(params, params.transfer.source, work.source)
        train(params, params.transfer.source, work.source)
        for target in own_targets(params, params.transfer):
            draw(params, target)
            prepare(params, target, work.targets)
        measure_transfer(params, params.transfer, work, carry)
    run_stage("compare", params, work, None)
    return work


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
    return Decision(np.concatenate([unit(np.random.default_rng(seed), 1, DIM) for seed in seeds]))


def prepare(params: Params, dataset: str, work: Workspace) -> None:
    """Plan a dataset, and cache random features of it."""
    save_plan(params, dataset, work)
    plan = Plan.load(work.plan(dataset))
    vectors = unit(np.random.default_rng(0), len(plan.class_names), DIM)
    for role, name in (("teacher", "large"), ("student", "small")):
        build_cache(
            plan,
            open_dataset(dataset, params.data).folder,
            FakeEncoder(name),
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
    plan = Plan.load(work.plan(dataset))
    caches = open_caches(params, plan, work)
    for method in usable(params.chosen_methods, labels=plan.teaches_labels):
        for seed in params.seeds:
            name, sides = method.name, SIDES[: len(getattr(method, "starts", ()))]
            about = {
                "method": name,
                "logit_scale": SCALE,
                "dataset": dataset,
                "plan": plan.digest,
                "class_names": list(plan.class_names),
                "learned_classes": list(plan.learned_names) if method.learns else [],
                "made_with": of_training(plan.made_with, params, dataset, name, seed),
                "seed": seed,
            }
            rng = np.random.default_rng(
                zlib.crc32(f"{dataset} {name} {seed} {params.train.lr} {draw}".encode())
            )
            vectors: dict[str, np.ndarray] = {}
            decision = None if method.learns else method.decision({}, known_classes(plan, *caches))
            if decision is None:
                contexts = {name: unit(rng, 4, DIM) for name in sides or ("rows",)}
                prompts = Artifact(contexts, {"kind": "prompts", **about})
                vectors = {side: unit(rng, len(plan.class_names), DIM) for side in sides}
                decided = vectors.get("positive", unit(rng, len(plan.class_names), DIM))
                decision = Decision(decided, SCALE)
                about["prompts"] = prompts.save(work.learned(dataset, name, seed, "prompts"))
                history = {
                    "prompts": prompts.digest,
                    "inactive": [],
                    "terms": {"cross_entropy": rng.random(params.train.epochs).tolist()},
                    "gradients": {"0": {"cross_entropy": rng.random(1).tolist()}},
                }
                work.learned(dataset, name, seed, "history").write_bytes(readable_json(history))
            known = {"kind": "classifier", **about, "decision": decision.spec()}
            file = Artifact({**vectors, **decision.arrays()}, known)
            file.save(work.learned(dataset, name, seed, "classifier"))
