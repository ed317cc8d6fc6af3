"""The whole pipeline with the tiny models, on two small datasets: seconds for a few methods."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conftest import draw_folder

from fdbpl.classify.artifact import decision_of
from fdbpl.classify.decision import Decision
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.stages.learned import open_learned
from fdbpl.system.workspace import Workspace

CLASSES = {"here": ("cat", "owl", "sea", "sky"), "there": ("dog", "elk", "ice")}
TRANSFER = ("prepare_transfer", "cache_transfer", "train_transfer", "transfer")


def small_params(root: Path, methods: Sequence[str], **changes: Any) -> Params:
    """Four classes to learn from, three others to transfer to; draws their images."""
    for name, classes in CLASSES.items():
        draw_folder(root / name, dict.fromkeys(classes, (4, 3)))
    raw = {
        "datasets": ["here"],
        "methods": list(methods),
        "seeds": [1, 2],
        "shots": 2,
        "data": {"own": {name: {"folder": str(root / name)} for name in CLASSES}},
        "regions": {"per_image": 3},
        "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
        "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
        "cache": {"payload": "float32", "store": str(root / "store"), "batch": 8},
        "train": {"lr": 0.02, "epochs": 3, "batch": 2},
        "transfer": {"source": "here", "targets": ["there"]},
        "device": "cpu",
    }
    return check_params({**raw, **changes})


def run_all(params: Params, work: Workspace) -> dict[str, list[str]]:
    """Run the stages of base-to-new and of the transfer; return what each says."""
    said = {stage: run_stage(stage, params, work, "here") for stage in PER_DATASET}
    return {**said, **{stage: run_stage(stage, params, work, None) for stage in TRANSFER}}


def evaluated(work: Workspace, method: str) -> dict[str, Any]:
    """Return a method's accuracies by seed: base-to-new, and of the transfer if it takes part."""
    new = json.loads(work.metrics("here").read_text(encoding="utf-8"))["methods"][method]["seeds"]
    moved = json.loads(work.transferred.read_text(encoding="utf-8"))["methods"]
    return {"base-to-new": new, "transfer": moved.get(method, {}).get("seeds")}


def decision(params: Params, work: Workspace, method: str, seed: int = 1) -> Decision:
    """Return how a method decides between the classes of `here`."""
    plan = Plan.load(work.plan("here"))
    return decision_of(open_learned("classifier", params, plan, work, method, seed))


def goes_through(root: Path, method: str, *, transfers: bool, **changes: Any) -> Workspace:
    """See that a method is trained, looked up, evaluated, and transferred where it can be."""
    params, work = small_params(root, ["zero_shot", method], **changes), Workspace(root / "work")
    said = run_all(params, work)
    assert ": 2 trainings, 0 looked up" in said["train_student"][0]
    again = run_stage("train_student", params, work, "here")
    assert ": 0 trainings, 2 looked up" in again[0]
    found = evaluated(work, method)
    for one in found["base-to-new"].values():
        assert {"base", "new", "h", "joint", "prompts"} <= set(one)
    targets = {seed: set(accuracies) for seed, accuracies in (found["transfer"] or {}).items()}
    assert targets == ({seed: set(CLASSES) for seed in "12"} if transfers else {})
    return work
