"""From pictures to what classifies them: the stages under all-classes, every picture held out once.

The choice between methods, the accuracy, the temperature and the thresholds all come from pictures
that the training at hand did not see: five trainings leave a fifth of the pictures out each, and
the model is learned from all of them. A test split of the user's own no training sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fdbpl.classify.decision import Decision
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.data.dataset import UNKNOWN
from fdbpl.data.registry import open_dataset
from fdbpl.learning.folds import OWN_TEST, Folds, folds_of
from fdbpl.learning.held_out import Floats, Ints, Trainer, held_out_logits
from fdbpl.learning.request import FOLDS, NAME, Request
from fdbpl.methods.method import Method
from fdbpl.methods.registry import usable
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan
from fdbpl.settings.params import Params
from fdbpl.stages.cache_teacher import cache_teacher
from fdbpl.stages.caches import open_caches
from fdbpl.stages.judged import JudgedFeatures
from fdbpl.stages.made_with import of_plan
from fdbpl.stages.sides import seen_of, sides_of
from fdbpl.stages.tasks import Task, task_of
from fdbpl.system.errors import UserError
from fdbpl.system.progress import progress
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import Learned, classes_of


@dataclass(frozen=True)
class Judged:
    """Pictures that the trainings which judge them did not see.

    Attributes:
        paths: of n pictures, relative to the folder they were learned from.
        labels: (n,) of their classes: told by people, or else what the teacher says.
        told: whether people told them.
        logits: (n, C).
    """

    paths: tuple[str, ...]
    labels: Ints
    told: bool
    logits: Floats

    @property
    def correct(self) -> float:
        """Per cent of them whose class is found, all classes competing."""
        return 100 * float(np.mean(self.logits.argmax(axis=1) == self.labels))


@dataclass(frozen=True)
class Outcome:
    """What was learned.

    Attributes:
        params: of the stages.
        plan: of the pictures.
        clip: the student.
        method: the one taken.
        learned: by it, from all pictures; None where it learns nothing.
        decision: between all classes.
        tried: by method, per cent of the held-out pictures whose class it found.
        held_out: by which the method was chosen, and is calibrated.
        own_test: test pictures of the user's own, if there are any.
        chosen_by_test: whether these are the `held_out`, since nobody has told what others show.
        notes: what a person should know.
    """

    params: Params
    plan: Plan
    clip: ClipModel
    method: Method
    learned: Learned | None
    decision: Decision
    tried: Mapping[str, float]
    held_out: Judged
    own_test: Judged | None
    chosen_by_test: bool
    notes: tuple[str, ...]


def learn_pictures(request: Request, work: Workspace) -> Outcome:
    """Learn what tells pictures apart.

    Args:
        request: what from, and how.
        work: where plans, caches and trainings stay, so that nothing is done twice.

    Raises:
        UserError: pictures, names, models or methods are not as they should be; the message says
            what to do.
    """
    request.require_there()
    dataset = open_dataset(NAME, request.params(labelled=True).data)
    if request.class_names:
        dataset = replace(dataset, class_names=tuple(request.class_names))
    labelled = all(item.label != UNKNOWN for item in dataset.train)
    params = request.params(labelled=labelled)
    folds = folds_of(dataset, request.seed, FOLDS, own_test=not dataset.held_out)
    plan = _planned(request, params, folds, work)
    lines = cache_teacher(params, NAME, work)
    clip = load_model(params.student, "student")
    task = task_of(params, plan, ALL_CLASSES, params.counts[-1])
    caches = open_caches(params, plan, work)
    trainer = _trainer(params, task, clip, work)
    methods = usable(params.chosen_methods, labels=labelled)
    if not methods:
        raise UserError(
            f"{', '.join(params.methods)} learns from labels, and nobody has told what the "
            "pictures show. Take a method that the teacher teaches, such as fdbpl."
        )
    features = JudgedFeatures(params, plan, work, caches)
    of_tests = folds.of_tests(plan)
    with progress("learning") as report:
        count = len(methods) * (FOLDS + 1)
        done = iter(range(1, count + 1))
        logits = {
            method.name: held_out_logits(
                trainer, method, features, of_tests, lambda: report(next(done), count)
            )
            for method in methods
        }
    teacher = features.of_role("teacher") @ caches["teacher"].text("template").T
    labels = plan.images["label"][plan.test]
    own, choice = _parts(of_tests, labels)
    if not len(choice):
        raise _none_held_out(request)
    paths = np.array([plan.paths[row] for row in plan.test], object)

    def judged(method: str, rows: Ints) -> Judged:
        told = bool((labels[rows] != UNKNOWN).all())
        truth = labels[rows] if told else teacher[rows].argmax(axis=1)
        return Judged(tuple(paths[rows]), truth, told, logits[method][rows])

    tried = {method.name: judged(method.name, choice).correct for method in methods}
    best = max(methods, key=lambda method: tried[method.name])  # the first of equals
    learned = trainer.learned(best, request.seed) if best.learns else None
    return Outcome(
        params=params,
        plan=plan,
        clip=clip,
        method=best,
        learned=learned,
        decision=trainer.decision(best, learned),
        tried=tried,
        held_out=judged(best.name, choice),
        own_test=judged(best.name, own) if len(own) else None,
        chosen_by_test=choice is own,
        notes=(*lines, *_notes(plan)),
    )


def _planned(request: Request, params: Params, folds: Folds, work: Workspace) -> Plan:
    """Plan all trainings at once, and leave the plan where the stages look for it."""
    if not folds.dataset.test:
        raise _none_held_out(request)
    with progress("looking at pictures") as report:
        plan = make_plan(
            folds.dataset,
            regions=params.regions,
            shots=request.shots,
            seeds=[request.seed],
            protocols=[ALL_CLASSES],
            allow_unreadable_test_images=True,
            report=report,
        )
    planned = folds.plan(plan, request.keys, of_plan(params, NAME))
    planned.save(work.plan(NAME))
    return planned


def _none_held_out(request: Request) -> UserError:
    return UserError(
        f"{request.pictures}: no class has two pictures, so none can be held out. Add some."
    )


def _trainer(params: Params, task: Task, clip: ClipModel, work: Workspace) -> Trainer:
    sides = sides_of(params, task.plan, work, clip)
    student, teacher = sides["student"].texts, sides["teacher"].texts["template"]
    classes = classes_of(clip, task.plan.class_names, texts=student, teacher=teacher)
    seen = seen_of(params, task.plan, work, clip)
    return Trainer(params, task, clip, sides, classes, work.trainings, seen)


def _parts(folds: Ints, labels: Ints) -> tuple[Ints, Ints]:
    """Return the user's own test pictures, and those to choose and calibrate by.

    Labels count where there are any. A method is not chosen by the user's own test pictures, unless
    no others have labels.
    """
    rows = np.arange(len(folds))
    own, by_turns = rows[folds == OWN_TEST], rows[folds >= 0]
    is_told = bool(len(by_turns)) and bool((labels[by_turns] != UNKNOWN).all())
    return own, by_turns if is_told or not len(own) else own


def _notes(plan: Plan) -> list[str]:
    """Say which pictures were left out; those that are judged by turns are said of once."""
    said: set[str] = set()
    lines = []
    for title, notes in plan.notes.items():
        new = [one for one in notes if one not in said and "short" not in title]
        said |= set(new)
        lines += [f"{len(new)} {title}, such as {new[0]}"] if new else []
    return lines
