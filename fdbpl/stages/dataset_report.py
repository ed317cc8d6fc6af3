"""What one method and seed made of a dataset's test pictures, read from plan, caches and files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdbpl.classify.decision import Decision
from fdbpl.data.images import ChangedImage, UnreadableImage, decode
from fdbpl.data.registry import open_dataset
from fdbpl.evaluation.confusion import Confusion
from fdbpl.evaluation.logits import log_softmax
from fdbpl.evaluation.mistakes import Judged, Surest, surest
from fdbpl.evaluation.record import Cell, DatasetRecord, Measures, Run
from fdbpl.html.curves import Curves
from fdbpl.html.dataset import DatasetReport
from fdbpl.html.mistakes import MistakeCard
from fdbpl.html.picture import thumbnail
from fdbpl.html.regions import RegionCard, card_of
from fdbpl.protocols.protocol import Labels, Protocol
from fdbpl.regions.plan import TRAIN, Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_caches
from fdbpl.stages.carried import Carry
from fdbpl.stages.evaluate import Tested
from fdbpl.stages.learned import open_history
from fdbpl.stages.planned import load_planned
from fdbpl.stages.tasks import Task, classes_of, testing
from fdbpl.stages.view_regions import can_view, class_of, open_viewer
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

MISTAKES = 12
"""Mistakes shown of a dataset."""
PICTURES, REGIONS = 2, 4
"""Pictures whose regions are shown, and regions of each."""
AT_ONCE = 4096  # pictures judged together: of a thousand classes some ten megabytes


@dataclass(frozen=True)
class Choice:
    """What is looked at of a dataset: one method and seed under one protocol."""

    method: str
    seed: int
    protocol: Protocol
    task: Task
    run: Run

    @property
    def cell(self) -> Cell:
        """What was measured."""
        return self.run.methods[self.method][str(self.seed)]


def dataset_report(
    params: Params, record: DatasetRecord, work: Workspace, method: str, seed: int, carry: Carry
) -> DatasetReport:
    """Return what is shown of a dataset.

    It is that of the first protocol that learns on the dataset, or else of one that tests on it,
    from the most shots. The classes of all its label spaces compete.

    Args:
        params: that the workspace was made with.
        record: what was measured on the dataset.
        work: holds plan, caches, classifiers and histories.
        method: one of the parameters'.
        seed: likewise.
        carry: the text tower, for what was learned on another dataset.

    Raises:
        UserError: plan, cache, classifier or history are missing, damaged or of other parameters.
    """
    plan = load_planned(params, record.dataset, work)
    title = params.method(method).title
    protocols = testing(params, plan)
    if not protocols:
        return DatasetReport([f"No protocol of {', '.join(params.protocols)} tests on it."])
    protocols.sort(key=lambda one: not one.learns_on(params, plan.name))  # stable: else as listed
    tested = Tested(params, work, plan, open_caches(params, plan, work), carry)
    task = tested.tasks(protocols[0])[-1]
    run = record.run(protocols[0].name, task.shots)
    if run is None or method not in run.methods:
        return DatasetReport([f"{title} has not been measured here: see the comparison above."])
    choice = Choice(method, seed, protocols[0], task, run)
    decision, prompts = tested.decision(choice.protocol, task, params.method(method), seed)
    if choice.cell.prompts is not None and prompts != choice.cell.prompts:
        raise UserError(
            f"{work.metrics(plan.name)}: {method}, seed {seed}, was measured by prompts "
            f"{choice.cell.prompts[:12]}, and there are {str(prompts)[:12]} now. Run "
            f"{work.command('evaluate', plan.name)} again."
        )
    spaces = classes_of(choice.protocol, plan).tested
    among = tuple(label for labels in spaces.values() for label in labels)
    judged = list(_judged(plan, tested.truth, tested.features.judged_by(decision), decision, among))
    shown, taken = (np.array([getattr(one, key) for one in judged]) for key in ("shown", "taken"))
    picture = _reader(params, plan)
    own = task.plan.name == plan.name
    return DatasetReport(
        lines=_lines(params, plan, choice, len(judged)),
        measured=dict(_flat(choice.cell.measures)),
        confusion=Confusion.of_labels(plan.class_names, shown, taken),
        new=set(among).difference(task.labels) if own else (),
        mistakes=_cards(plan, surest(judged, MISTAKES), picture),
        regions=_regions(params, tested, choice, work) if own else (),
        curves=_curves(params, choice, work) if own else {},
        seed=seed,
    )


def _judged(
    plan: Plan,
    truth: NDArray[np.integer[Any]],
    features: NDArray[Any],
    decision: Decision,
    among: Labels,
) -> Iterator[Judged[int]]:
    """Yield the test pictures of the classes that compete, each with its row of the plan."""
    places = np.flatnonzero(np.isin(truth, among))
    labels = np.asarray(among)
    for part in np.array_split(places, 1 + len(places) // AT_ONCE):
        if not len(part):
            continue
        log_p = log_softmax(decision.logits(features[part], labels))
        best = log_p.argmax(axis=1)
        sure = np.exp(log_p.max(axis=1))
        found = (plan.test[part], truth[part], labels[best], sure)
        yield from (Judged(*one) for one in zip(*(row.tolist() for row in found), strict=True))


def _lines(params: Params, plan: Plan, choice: Choice, count: int) -> list[str]:
    """Say what was learned by what, and what competes."""
    task, title = choice.task, params.method(choice.method).title
    shots = f"{'all pictures' if task.shots == 'all' else f'{task.shots} shots'} of each class"
    elsewhere = "" if task.plan.name == plan.name else f" on {task.plan.name}"
    learns = params.method(choice.method).learns
    learned = f"learned{elsewhere} from {shots}" if learns else "nothing is learned"
    classes = sum(choice.run.classes.values())
    lines = [
        f"{title}, seed {choice.seed}, protocol {choice.protocol.name}: {learned}. Below, all "
        f"{classes:,} classes compete; {count:,} test pictures."
    ]
    if not plan.tests_labels:
        lines.append(
            "Nobody has told what the test pictures show: the teacher's answer counts as their "
            "class, so this is agreement with the teacher, no accuracy."
        )
    return lines


def _flat(measures: Measures) -> Iterator[tuple[str, float]]:
    """Yield each measure by name; nested ones by both names."""
    for name, value in measures.items():
        if isinstance(value, dict):
            yield from ((f"{name} {inner}", one) for inner, one in _flat(dict(value)))
        else:
            yield "H" if name == "h" else name, value


Reader = Callable[[int], Image.Image | None]
"""From a row of the plan to its picture; None where it is not there, or not what was planned."""


def _reader(params: Params, plan: Plan) -> Reader:
    folder = open_dataset(plan.name, params.data).folder

    def read(row: int) -> Image.Image | None:
        try:
            return decode(folder / plan.paths[row], plan.images["hash"][row].tobytes())
        except (UnreadableImage, ChangedImage):
            return None

    return read


def _cards(plan: Plan, found: Surest[int], read: Reader) -> list[MistakeCard]:
    def thumb(row: int | None) -> str | None:
        picture = None if row is None else read(row)
        return None if picture is None else thumbnail(picture)

    return [
        MistakeCard(
            picture=thumb(one.key),
            example=thumb(_example(plan, found, one.taken)),
            shown=plan.class_names[one.shown],
            taken=plan.class_names[one.taken],
            probability=one.probability,
            path=plan.paths[one.key],
        )
        for one in found.mistakes
    ]


def _example(plan: Plan, found: Surest[int], label: int) -> int | None:
    """Return the row of a typical test picture of a class, or else of a training picture."""
    if label in found.examples:
        return found.examples[label].key
    rows = np.flatnonzero((plan.images["label"] == label) & (plan.images["split"] == TRAIN))
    return int(rows[0]) if len(rows) else None


def _regions(params: Params, tested: Tested, choice: Choice, work: Workspace) -> list[RegionCard]:
    """Return regions of pictures that the seed learned from, the first of them and one between."""
    plan, rows = tested.plan, choice.task.picks[choice.seed]
    if not rows or not can_view(params.method(choice.method)):
        return []
    viewer = open_viewer(params, choice.task, tested.caches, choice.method, choice.seed, work)
    read, cards = _reader(params, plan), []
    for row in sorted({rows[len(rows) * place // PICTURES] for place in range(PICTURES)}):
        picture = read(row)
        if picture is not None:
            views = viewer.views(row, (0, 0, picture.width, picture.height))
            title = f"{class_of(plan, row)}: {plan.paths[row]}"
            cards.append(card_of(title, picture, views[:REGIONS]))
    return cards


def _curves(params: Params, choice: Choice, work: Workspace) -> Curves:
    """Return the loss's terms by epoch, of every seed; none of a method that takes no steps.

    Raises:
        UserError: a history is missing, damaged, or not that of the prompts that were measured.
    """
    task, method = choice.task, choice.method
    found: dict[str, dict[int, list[float]]] = {}
    for seed in params.seeds:
        cell = choice.run.methods[method][str(seed)]
        if cell.prompts is None:
            continue
        terms = open_history(task, work, method, seed, cell.prompts)["terms"]
        for term, values in terms.items():
            if values:
                found.setdefault(term, {})[seed] = values
    return found
