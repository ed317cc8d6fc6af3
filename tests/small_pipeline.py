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
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.workspace import Workspace

CLASSES = {"here": ("cat", "owl", "sea", "sky"), "there": ("dog", "elk", "ice")}


def small_params(root: Path, methods: Sequence[str], **changes: Any) -> Params:
    """Four classes here, from which is transferred to three others there; draws their images."""
    for name, classes in CLASSES.items():
        draw_folder(root / name, dict.fromkeys(classes, (4, 3)))
    raw = {
        "datasets": list(CLASSES),
        "protocols": ["base-to-new", "transfer"],
        "methods": list(methods),
        "seeds": [1, 2],
        "shots": 2,
        "data": {"own": {name: {"folder": str(root / name)} for name in CLASSES}},
        "regions": {"per_image": 3},
        "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
        "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
        "cache": {"payload": "float32", "store": str(root / "store"), "batch": 8},
        "train": {"lr": 0.02, "epochs": 3, "batch": 2},
        "device": "cpu",
    }
    return check_params({**raw, **changes})


def run_all(params: Params, work: Workspace) -> dict[str, list[str]]:
    """Run the stages of both datasets; return what each says of `here`."""
    said = {}
    for stage in PER_DATASET:
        lines = {name: run_stage(stage, params, work, name) for name in CLASSES}
        said[stage] = lines["here"]
    return said


def evaluated(work: Workspace, method: str, dataset: str, protocol: str) -> dict[str, Any]:
    """Return what was measured of a method by seed; nothing where it takes no part."""
    record = json.loads(work.metrics(dataset).read_text(encoding="utf-8"))
    found: dict[str, Any] = record["protocols"][protocol]["2"]["methods"].get(method, {})
    return found


def decision(params: Params, work: Workspace, method: str, seed: int = 1) -> Decision:
    """Return how a method decides between the classes of `here`, learned on half of them."""
    task = tasks_of(params, Plan.load(work.plan("here")))[0]
    return decision_of(open_learned("classifier", params, task, work, method, seed))


def goes_through(root: Path, method: str, *, transfers: bool, **changes: Any) -> Workspace:
    """See that a method is trained, looked up, evaluated, and transferred where it can be."""
    params, work = small_params(root, ["zero_shot", method], **changes), Workspace(root / "work")
    said = run_all(params, work)
    trained = 4 if transfers else 2  # two seeds of each task that the method is tested on
    assert f"x 2 seeds x 2 tasks: {trained} trainings, 0 looked up" in said["train_student"][0]
    again = run_stage("train_student", params, work, "here")
    assert f": 0 trainings, {trained} looked up" in again[0]
    for cell in evaluated(work, method, "here", "base-to-new").values():
        assert {"base", "new", "h", "joint"} <= set(cell["measures"])
        assert cell["prompts"]
    for dataset in CLASSES:
        found = evaluated(work, method, dataset, "transfer")
        assert set(found) == (set("12") if transfers else set())
    return work
