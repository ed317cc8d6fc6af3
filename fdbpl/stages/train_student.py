"""Stage 3: learn every method for every seed, from both models' features of regions."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fdbpl.classify.artifact import Artifact, classifier_of
from fdbpl.classify.decision import Role
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.projection import shows_hidden
from fdbpl.methods.method import Classes, Method
from fdbpl.methods.region_pairs import SourceRegions
from fdbpl.methods.registry import IMPORTED
from fdbpl.methods.training_data import TrainingData
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.imported import bring_in, doubts
from fdbpl.stages.made_with import of_training
from fdbpl.stages.plan_content import areas_of, shown_by
from fdbpl.stages.planned import load_planned
from fdbpl.stages.sides import NOTHING_SEEN, Seen, Side, seen_of, sides_of
from fdbpl.stages.source_regions import regions_of_source
from fdbpl.stages.tasks import Task, checkpoint, tasks_of
from fdbpl.system.device import choose_device
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, sha256, whole_folder
from fdbpl.system.progress import Report, progress
from fdbpl.system.sealed import sealed_json
from fdbpl.system.workspace import Workspace, learned_name
from fdbpl.training.checks import diverged
from fdbpl.training.learning import Learned, classes_of, learn_method, training_data
from fdbpl.training.store import TrainingStore, syntax_digest


def train_student(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Learn all tasks of a dataset; write prompts, classifiers and histories.

    Methods that need labels are left out where there are none to learn from; what was learned
    elsewhere is brought in.

    Raises:
        UserError: a plan or cache is missing, damaged, or made from other parameters or another
            plan; or see `read_checkpoint`.
    """
    plan = load_planned(params, dataset, work)
    tasks = tasks_of(params, plan)
    clip = load_model(params.student, "student")
    brought = {  # before the training, which a wrong file shall not cost
        (task.folder, seed): bring_in(checkpoint(params, dataset, task.folder, seed), plan, clip)
        for task in tasks
        for seed in (params.seeds if IMPORTED in params.methods else ())
    }
    sides = sides_of(params, plan, work, clip)
    teacher = sides["teacher"].texts["template"]
    classes = classes_of(clip, plan.class_names, texts=sides["student"].texts, teacher=teacher)
    source = regions_of_source(params, plan, work, clip)
    seen = seen_of(params, plan, work, clip)
    notes: list[str] = []
    stores: list[TrainingStore] = []
    with (
        whole_folder(work.prompts_of(dataset)) as folder,
        progress(f"{dataset}: training") as report,
    ):
        for done, task in enumerate(tasks):
            learner = Learner(params, task, clip, sides, classes, work, source, seen)
            (folder / task.folder).mkdir()
            own = {seed: one for (name, seed), one in brought.items() if name == task.folder}
            part = _part_of(report, done, len(tasks))
            found = learner.learn(task.methods(params), own, folder / task.folder, part)
            notes += [f"  {task.folder}:", *found] if found and len(tasks) > 1 else found
            stores += learner.stores
        work.before_writing()
    methods = {one.name for task in tasks for one in task.methods(params)}
    of_tasks = f" x {len(tasks)} tasks" if len(tasks) > 1 else ""
    return [
        f"{dataset}: {len(methods)} methods x {len(params.seeds)} seeds{of_tasks}: "
        f"{sum(one.learned for one in stores)} trainings, "
        f"{sum(one.looked_up for one in stores)} looked up",
        *(line for one in stores for line in _resumed(one.resumed, params.train.epochs)),
        *_left_out(params, plan),
        *notes,
    ]


class Learner:
    """Learns methods on one task and writes what comes of it.

    Args:
        params: the schedule, the seeds, the device.
        task: what is learned.
        clip: the student.
        sides: regions' features by role.
        classes: of the task's dataset, all of them.
        work: which keeps all that was ever learned.
        source: of which methods may know the regions, too.
        seen: of regions, for methods that run the student's image tower.
    """

    def __init__(
        self,
        params: Params,
        task: Task,
        clip: ClipModel,
        sides: Mapping[Role, Side],
        classes: Classes,
        work: Workspace,
        source: SourceRegions | None = None,
        seen: Seen = NOTHING_SEEN,
    ) -> None:
        """Nothing is learned yet."""
        self._work = work
        self._params, self._task, self._clip = params, task, clip
        self._classes = replace(classes, learned=() if task.plan.vocabulary else task.names)
        teacher = sides["teacher"]
        self._sides: dict[Role, tuple[TrainingData, TrainingStore]] = {
            role: (
                data_of(params, task, clip, side, teacher, role, source, seen),
                TrainingStore(work.trainings, content_of(params, task, side, teacher)),
            )
            for role, side in sides.items()
            if role != "teacher"
        }

    @property
    def stores(self) -> list[TrainingStore]:
        """Which count what was learned and what was looked up."""
        return [store for _, store in self._sides.values()]

    def learn(
        self,
        methods: Sequence[Method],
        brought: Mapping[int, tuple[Learned, dict[str, Any]]],
        folder: Path,
        report: Report,
    ) -> list[str]:
        """Write into `folder` what methods learn, and what was `brought` in for a seed.

        Returns:
            What to tell the user.
        """
        notes = []
        for done, method in enumerate(methods):
            self._work.before_writing()  # what is learned is kept under a key, too
            part = _part_of(report, done, len(methods))
            if method.name == IMPORTED:
                runs = {seed: found for seed, (found, _) in brought.items()}
            else:
                data, store = self._sides.get(method.sees, self._sides["student"])
                runs = learn_method(method, data, self._params.train, store, part)
            part(self._params.train.epochs, self._params.train.epochs)
            inactive: set[str] = set()
            for seed, learned in runs.items():
                origin = brought[seed][1] if method.name == IMPORTED else {}
                self._save(learned, {**self._about(method, seed), **origin}, folder)
                inactive.update(learned.history.get("inactive", ()))
            if inactive:
                terms = ", ".join(sorted(inactive))
                notes.append(
                    f"  {method.name}: inactive terms (under 1 % of the gradient): {terms}"
                )
        if brought:
            notes.append(f"  {IMPORTED}: checkpoints of {len(brought)} seeds brought in")
        for seed, (_, origin) in brought.items():
            notes += doubts(origin, seed, len(self._task.labels))
        return notes

    def _save(self, learned: Learned, about: Mapping[str, Any], folder: Path) -> None:
        """Write the files of one training: what was learned, its history, and what classifies.

        Raises:
            UserError: a class vector is not finite, or the method's decision sees another model.
        """
        method, seed, classes = learned.method, about["seed"], self._classes
        decision = method.decision(learned.arrays, classes)
        sees = method.sees if shows_hidden(self._clip) or method.sees != "hidden" else "student"
        if decision.sees != sees:
            raise UserError(
                f"method {method.name!r} sees {sees!r}, and its decision {decision.sees!r}. "
                "Let it return Decision(..., sees=self.sees)."
            )
        vectors = method.vectors(learned.arrays, classes)
        decides = (*vectors.values(), *decision.arrays().values())
        if method.takes_steps and not all(np.isfinite(one).all() for one in decides):
            schedule = method.recipe(self._params.train)
            raise diverged(method.name, seed, schedule.epochs - 1, schedule)
        known = dict(about)
        if method.learns:
            known["trainings"] = list(learned.keys)
            prompts = Artifact(learned.arrays, {"kind": "prompts", **known})
            known["prompts"] = prompts.save(folder / learned_name(method.name, seed, "prompts"))
            history = {
                **self._task.identity(method.name, seed),
                "trainings": known["trainings"],
                "prompts": known["prompts"],
                **{"inactive": [], "terms": {}, "gradients": {}, "diagnoses": {}},
                **learned.history,
            }
            path = folder / learned_name(method.name, seed, "history")
            path.write_bytes(sealed_json(history))
        classifier = classifier_of(decision, known, vectors)
        classifier.save(folder / learned_name(method.name, seed, "classifier"))

    def _about(self, method: Method, seed: int) -> dict[str, Any]:
        plan = self._task.plan
        return {
            "options": method.options.model_dump(mode="json"),
            "student": dict(self._clip.identity),
            "logit_scale": self._clip.logit_scale,
            **self._task.identity(method.name, seed),
            "plan": plan.digest,
            "class_names": list(plan.class_names),
            "template": plan.template,
            "made_with": of_training(self._params, self._task, method.name, seed),
            **(_learned_from(self._task) if method.learns else {"learned_classes": []}),
        }


def data_of(
    params: Params,
    task: Task,
    clip: ClipModel,
    student: Side,
    teacher: Side,
    role: Role = "student",
    source: SourceRegions | None = None,
    seen: Seen = NOTHING_SEEN,
) -> TrainingData:
    """Return what methods learn from of a task, those that see a role's features."""
    plan = task.plan
    labels = plan.images["label"][: len(plan.regions) // plan.crops]
    return training_data(
        clip,
        task.names,
        likeliest=params.train.likeliest if plan.vocabulary else None,
        student=student.features,
        teacher=teacher.features,
        teacher_vectors=teacher.learned(task),
        teacher_scale=_scale(params, clip, teacher),
        labels=np.searchsorted(task.labels, labels) % len(task.labels),  # of others, any
        anchors=student.learned(task),
        areas=areas_of(plan, held=isinstance(student.features, np.ndarray)),
        pixels=seen.pixels,
        activations=seen.activations,
        ensemble=student.ensemble(task),
        crops=plan.crops,
        picks={seed: task.picks[seed] for seed in params.seeds},
        params=params.train,
        device=choose_device(params.device),
        sees=role,
        source=source if role == "hidden" else None,
    )


def _scale(params: Params, clip: ClipModel, teacher: Side) -> float:
    return teacher.logit_scale if params.teacher.logit_scale == "own" else clip.logit_scale


def content_of(params: Params, task: Task, student: Side, teacher: Side) -> dict[int, str]:
    """Return for each seed a digest of what it learns from.

    Of the plan that is the content of the task's images, their regions and labels, and the names:
    what else was planned, for other seeds, shots or protocols or to test on, is none of it. What
    is made of these on the way, such as areas, is in it by the code that does so.
    """
    found, plan = {}, task.plan
    code = [syntax_digest(Path(inspect.getfile(one))) for one in (content_of, shown_by, Plan)]
    for seed in params.seeds:
        names = [list(task.names), bool(plan.vocabulary), plan.template, plan.crops]
        models = [student.digest, teacher.digest, params.teacher.logit_scale]
        found[seed] = sha256(
            canonical_json([shown_by(plan, task.picks[seed]), names, models, code])
        )
    return found


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


def _part_of(report: Report, done: int, parts: int) -> Report:
    """Follow one of equal parts, the one after `done` others, as a part of the whole."""
    return lambda step, steps: report(done * steps + step, parts * steps)


def _learned_from(task: Task) -> dict[str, Any]:
    """Return the classes learned from; of a vocabulary, which may be long, what tells it."""
    names = list(task.names)
    if not task.plan.vocabulary:
        return {"learned_classes": names}
    about = {"names": len(names), "sha256": sha256(canonical_json(names))}
    return {"learned_classes": [], "vocabulary": about}
