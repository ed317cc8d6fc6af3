"""Stage 4: accuracies of every method under every protocol.

Torch only to carry prompts, and to see images under image prompts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import Cache
from fdbpl.classify.artifact import decision_of
from fdbpl.classify.decision import Decision, Role
from fdbpl.clip.weights import about_model
from fdbpl.evaluation.record import Cell, DatasetRecord, Run, write_record
from fdbpl.methods.method import Method
from fdbpl.protocols.protocol import Protocol
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import known_classes, open_caches
from fdbpl.stages.carried import Carry, text_tower
from fdbpl.stages.judged import JudgedFeatures
from fdbpl.stages.learned import open_learned
from fdbpl.stages.made_with import of_evaluation
from fdbpl.stages.planned import load_planned
from fdbpl.stages.tasks import Task, classes_of, task_of, testing
from fdbpl.system.workspace import Workspace


def evaluate(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write a dataset's accuracies, in per cent, for every protocol, method and seed.

    Methods that need labels are left out where there are none to learn from; those that know the
    classes alone that they were fitted to, where others are tested.

    Raises:
        UserError: plan, cache, classifier or prompts are missing, damaged or of other parameters.
    """
    return measure(params, dataset, work, text_tower(params, work))


def measure(params: Params, dataset: str, work: Workspace, carry: Carry) -> list[str]:
    """Do what `evaluate` does, with `carry` for the text tower. Loads no model itself."""
    plan = load_planned(params, dataset, work)
    tested = Tested(params, work, plan, open_caches(params, plan, work), carry)
    protocols = {
        protocol.name: {
            str(task.shots): tested.run(protocol, task) for task in tested.tasks(protocol)
        }
        for protocol in testing(params, plan)
    }
    record = DatasetRecord(
        dataset=dataset,
        plan=plan.digest,
        student=about_model(params.student),
        protocols=protocols,
        made_with=of_evaluation(params, dataset),
    )
    work.before_writing()
    write_record(work.metrics(dataset), record)
    return list(_lines(params, plan, record))


@dataclass(frozen=True)
class Tested:
    """A dataset's test images, as its caches have them by role."""

    params: Params
    work: Workspace
    plan: Plan
    caches: Mapping[Role, Cache]
    carry: Carry
    untrained: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def tasks(self, protocol: Protocol) -> list[Task]:
        """Return what a protocol learned that is tested here."""
        plan, source = self.plan, protocol.learned_on(self.params, self.plan.name)
        if source != plan.name:
            plan = load_planned(self.params, str(source), self.work)
        return [task_of(self.params, plan, protocol, n) for n in protocol.counts(self.params)]

    def run(self, protocol: Protocol, task: Task) -> Run:
        """Measure every method and seed of a task."""
        spaces = classes_of(protocol, self.plan).tested
        methods = self.methods(protocol, task)
        seeds = self.params.seeds
        return Run(
            learned_on=task.plan.name,
            kind=protocol.kind(self.params, self.plan.name),
            classes={name: len(labels) for name, labels in spaces.items()},
            test_images={
                name: int(np.isin(self.truth, labels).sum()) for name, labels in spaces.items()
            },
            left_out=[
                name for name in self.params.methods if name not in [one.name for one in methods]
            ],
            methods={
                method.name: {str(seed): self._cell(protocol, task, method, seed) for seed in seeds}
                for method in methods
            },
        )

    def methods(self, protocol: Protocol, task: Task) -> list[Method]:
        """Return the methods that can be learned and say something when measured."""
        if not len(self.plan.test):
            return []
        found = task.methods(self.params)
        if not self.plan.tests_labels:
            found = [one for one in found if one.sees != "teacher"]  # what they agree with
        return found

    def _cell(self, protocol: Protocol, task: Task, method: Method, seed: int) -> Cell:
        key = protocol.name, method.name
        if key in self.untrained:
            return self.untrained[key]
        decision, prompts = self.decision(protocol, task, method, seed)
        cell = Cell(measures=self.measures(protocol, decision), prompts=prompts)
        if not method.learns:  # the same for every seed and number of shots
            self.untrained[key] = cell
        return cell

    def measures(self, protocol: Protocol, decision: Decision) -> dict[str, Any]:
        """Return what a protocol measures of a decision between all classes, in per cent.

        Where the teacher says what pictures show, what would be an accuracy is called agreement.
        """
        spaces = classes_of(protocol, self.plan).tested
        found = protocol.measure(self.features.judged_by(decision), self.truth, decision, spaces)
        if self.plan.tests_labels:
            return dict(found)
        return {name.replace("accuracy", "agreement"): one for name, one in found.items()}

    def decision(
        self, protocol: Protocol, task: Task, method: Method, seed: int
    ) -> tuple[Decision, str | None]:
        """Return what decides by what was learned here, or elsewhere and is carried here.

        With it the digest of the prompts, where there are some.

        Raises:
            UserError: see `open_learned`.
        """
        if task.plan.name == self.plan.name:
            kept = open_learned("classifier", self.params, task, self.work, method.name, seed)
            return decision_of(kept), kept.about.get("prompts")
        prompts = None
        if method.learns:
            prompts = open_learned("prompts", self.params, task, self.work, method.name, seed)
        classes = known_classes(
            self.plan,
            self.caches,
            learned=prompts.about["learned_classes"] if prompts else (),
            same_domain=protocol.kind(self.params, self.plan.name) != "cross-dataset",
        )
        if prompts is None:
            return method.decision({}, classes), None
        return self.carry(prompts, method, classes), prompts.digest

    @cached_property
    def features(self) -> JudgedFeatures:
        """Those of the test images."""
        return JudgedFeatures(self.params, self.plan, self.work, self.caches)

    @cached_property
    def truth(self) -> NDArray[Any]:
        """The labels (T,) of the test images; where nobody told them, what the teacher says."""
        if self.plan.tests_labels:
            return self.plan.images["label"][self.plan.test]
        teacher = self.features.of_role("teacher") @ self.caches["teacher"].text("template").T
        return np.asarray(teacher.argmax(axis=1))


def _lines(params: Params, plan: Plan, record: DatasetRecord) -> list[str]:
    """Say what was measured, what tells nothing, and what was left out for want of labels."""
    protocols = record.protocols
    runs = [run for by_shots in protocols.values() for run in by_shots.values()]
    methods = {method for run in runs for method in run.methods}
    images, under = f"{len(plan.test):,}", ", ".join(protocols)
    if not runs:
        return [f"{plan.name}: no protocol of {', '.join(params.protocols)} tests on it"]
    if not len(plan.test):
        return [f"{plan.name}: no test image and none held out, so there is nothing to evaluate"]
    if not plan.tests_labels:
        lines = [
            f"{plan.name}: no test image has a class, so no accuracy is known; agreement with the "
            f"teacher of {len(methods)} methods measured on {images} held-out images"
        ]
    else:
        lines = [f"{plan.name}: {len(methods)} methods evaluated on {images} test images: {under}"]
    lines += [
        f"  {protocol}: a single class in {', '.join(alone)}, so nothing can be told from it"
        for protocol in record.protocols
        if (alone := record.single_classes(protocol))
    ]
    labelled = [one.title for one in params.chosen_methods if one.labelled]
    if plan.labels and not plan.teaches_labels and labelled:
        lines.append(f"  left out, since they learn from labels: {', '.join(labelled)}")
    return lines
