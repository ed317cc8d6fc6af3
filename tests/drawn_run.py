"""A run on drawn pictures with the tiny pair, in seconds, and what it said of its test pictures."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fdbpl.classify.artifact import decision_of
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.params import ModelParams
from fdbpl.data.registry import open_dataset
from fdbpl.methods.method import Method
from fdbpl.protocols.registry import PROTOCOLS
from fdbpl.regions.plan import Plan
from fdbpl.serving.from_run import made_of_run
from fdbpl.serving.make import Made
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import run_stage
from fdbpl.stages.caches import open_role
from fdbpl.stages.learned import open_learned
from fdbpl.stages.tasks import Task, task_of
from fdbpl.system.workspace import Workspace

DATASET = "icons"
STUDENT = ModelParams(architecture="fdbpl-tiny-student", weights="tiny")
STAGES = ("prepare_crops", "cache_teacher", "train_student", "evaluate")


@cache
def student() -> ClipModel:
    return load_model(STUDENT, "student")


@dataclass(frozen=True)
class DrawnRun:
    """runs/drawn in a folder, which is to be the working one."""

    folder: Path
    params: Params

    @property
    def dataset(self) -> str:
        return self.params.datasets[0]

    @property
    def work(self) -> Workspace:
        return Workspace(Path("runs") / "drawn")

    @property
    def plan(self) -> Plan:
        return Plan.load(self.work.plan(self.dataset))

    @property
    def pictures(self) -> list[Path]:
        """The files of the test pictures."""
        plan, place = self.plan, open_dataset(self.dataset, self.params.data).folder
        return [(place / plan.paths[row]).absolute() for row in plan.test]

    def task(self, protocol: str = "all-classes") -> Task:
        return task_of(self.params, self.plan, PROTOCOLS[protocol], self.params.counts[-1])

    def method(self, name: str) -> Method:
        return next(one for one in self.params.chosen_methods if one.name == name)

    def made(self, method: str, protocol: str = "all-classes") -> Made:
        task = self.task(protocol)
        return made_of_run(self.params, self.work, task, self.method(method), 1, "drawn", student)

    def cached_logits(self, method: str, protocol: str = "all-classes") -> Any:
        """What `evaluate` decides by: the classifier's file over the cached features."""
        file = open_learned("classifier", self.params, self.task(protocol), self.work, method, 1)
        decision = decision_of(file)
        features = open_role(decision.sees, self.params, self.plan, self.work).features("test")
        return decision.logits(np.asarray(features), range(len(self.plan.class_names)))


def drawn_run(folder: Path, **changes: Any) -> DrawnRun:
    """Run the stages; the working folder must be `folder`."""
    raw = {
        "datasets": [DATASET],
        "protocols": ["base-to-new", "all-classes"],
        "methods": ["zero_shot", "teacher", "prolip", "template_bridge", "fdbpl"],
        "seeds": [1],
        "shots": 2,
        "regions": {"per_image": 2},
        "student": STUDENT.model_dump(exclude_none=True),
        "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
        "cache": {"payload": "float32"},
        "train": {"epochs": 2},
        **changes,
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    found = DrawnRun(folder, check_params(raw))
    for stage in STAGES:
        run_stage(stage, found.params, found.work, found.dataset)
    return found
