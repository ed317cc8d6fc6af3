"""Looking at one image of a dataset: its regions, as plan, caches and classifiers know them."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fdbpl.cache.cache import Cache
from fdbpl.classify.decision import Role
from fdbpl.data.dataset import UNKNOWN
from fdbpl.data.images import decode
from fdbpl.data.names import spoken
from fdbpl.data.registry import open_dataset
from fdbpl.evaluation.logits import Floats, informativeness, log_softmax
from fdbpl.evaluation.ood import Scorer
from fdbpl.methods.method import Method
from fdbpl.regions.boxes import Box
from fdbpl.regions.plan import TEST, Plan
from fdbpl.reporting import region_view
from fdbpl.reporting.ood_report import SCORE_TITLES
from fdbpl.reporting.region_view import Guess, RegionView
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_caches
from fdbpl.stages.ood import learned_regions, open_scorer
from fdbpl.stages.planned import load_planned
from fdbpl.stages.tasks import Task, task_of, testing
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole
from fdbpl.system.workspace import Workspace


def view_regions(
    params: Params, dataset: str, work: Workspace, image: str, method: str, seed: int, out: Path
) -> str:
    """Draw one image's regions into `out`; return what to tell the user.

    Args:
        params: that the workspace was made with.
        dataset: the image's.
        work: holds plan, caches and, for a method that learns, the classifier.
        image: a path of the plan, a class name (its first image is taken) or a row of the plan.
        method: whose student is asked, one with learned contexts or of zero-shot's.
        seed: of the training.
        out: the PNG file.

    Shown is what the first of the dataset's protocols learned, from the most shots.

    A training image has the regions that were learned from. A test image has one, the whole.

    Raises:
        UserError: `out` is no PNG's name, no such image or method, or something is missing,
            damaged or of other parameters.
    """
    region_view.require_png(out)
    plan = load_planned(params, dataset, work)
    protocols = [one for one in testing(params, plan) if one.learns_on(params, dataset)]
    if not protocols:
        raise UserError(f"{dataset}: nothing is learned on it, wanted a dataset that is.")
    task = task_of(params, plan, protocols[0], params.counts[-1])
    if seed not in plan.shots:
        raise UserError(
            f"--seed is {seed}, wanted one of the plan's: {', '.join(map(str, plan.shots))}."
        )
    shown = [one.name for one in params.chosen_methods if can_view(one)]
    if method not in shown:
        raise UserError(f"--method is {method!r}, wanted one of {', '.join(shown)}.")
    row = find_image(plan, image)
    viewer = open_viewer(params, task, open_caches(params, plan, work), method, seed, work)
    picture = decode(
        open_dataset(dataset, params.data).folder / plan.paths[row],
        plan.images["hash"][row].tobytes(),
    )
    views = viewer.views(row, (0, 0, picture.width, picture.height))
    title = f"{dataset}/{plan.paths[row]}: {class_of(plan, row)}    ({method}, seed {seed})"
    file = io.BytesIO()
    region_view.draw(title, picture, views, SCORE_TITLES[viewer.score], file)
    write_whole(out, file.getvalue())
    return f"{len(views)} regions of {plan.paths[row]}: {out}"


def can_view(method: Method) -> bool:
    """Tell whether a method's student can be asked of regions: one with class vectors, cached."""
    return method.transfers and method.sees in ("student", "hidden")


@dataclass(frozen=True)
class Viewer:
    """What teacher and student make of regions.

    Attributes:
        plan: of the images.
        classes: the labels learned, between which both decide.
        caches: of the plan, by role.
        scale: of the teacher's cosines.
        role: whose features the scorer judges.
        scorer: the student's.
        score: which OOD score is told.
        learned: that score (n,) of the regions that were learned from.
    """

    plan: Plan
    classes: list[int]
    caches: Mapping[Role, Cache]
    scale: float
    role: Role
    scorer: Scorer
    score: str
    learned: Floats

    def views(self, row: int, whole: Box) -> list[RegionView]:
        """Return what is known of each region of an image of the plan.

        Args:
            row: of the image.
            whole: the box of all of it.
        """
        boxes, flips, features = _regions(self.plan, row, self.caches, whole)
        vectors = self.caches["teacher"].text("template")[self.classes]
        by_teacher = self.scale * features["teacher"].astype(np.float64) @ vectors.T
        names = [self.plan.class_names[label] for label in self.classes]
        of_both = zip(
            guesses(by_teacher, names),
            guesses(self.scorer.logits(features[self.role]), names),
            strict=True,
        )
        scores = self.scorer(features[self.role])[self.score]
        return [
            RegionView(
                box=box,
                flip=flip,
                w=float(w),
                teacher=teachers,
                student=students,
                score=float(value),
                above=100 * float(np.mean(self.learned < value)),
            )
            for box, flip, w, value, (teachers, students) in zip(
                boxes, flips, informativeness(by_teacher), scores, of_both, strict=True
            )
        ]


def open_viewer(
    params: Params,
    task: Task,
    caches: Mapping[Role, Cache],
    method: str,
    seed: int,
    work: Workspace,
) -> Viewer:
    """Return what views regions by what a method, one that `can_view`, learned of a task.

    Raises:
        UserError: see `open_learned`.
    """
    scales = {role: cache.manifest.identity.model["logit_scale"] for role, cache in caches.items()}
    own = scales["teacher" if params.teacher.logit_scale == "own" else "student"]
    role, scorer = open_scorer(method, seed, params, task, caches, work)
    learned = scorer(caches[role].features("train", learned_regions(task, seed)))
    score = "energy_mahalanobis" if "energy_mahalanobis" in learned else "energy"
    return Viewer(task.plan, list(task.labels), caches, own, role, scorer, score, learned[score])


def class_of(plan: Plan, row: int) -> str:
    """Return the name of an image's class, or that it is unknown."""
    label = int(plan.images["label"][row])
    return "class unknown" if label == UNKNOWN else plan.class_names[label]


def find_image(plan: Plan, image: str) -> int:
    """Return the row of an image given by path, by class name or by row.

    Raises:
        UserError: the plan has no such image.
    """
    path = Path(image).as_posix()
    for row, known in enumerate(plan.paths):
        if path == known or path.endswith(f"/{known}"):
            return row
    name = image if image in plan.class_names else spoken(image)  # a class folder's name too
    if name in plan.class_names:
        of_class = np.flatnonzero(plan.images["label"] == plan.class_names.index(name))
        if len(of_class):
            return int(of_class[0])
    elif image.isdecimal() and int(image) < len(plan.paths):
        return int(image)
    raise UserError(
        f"IMAGE is {image!r}, which is no image of {plan.name}'s plan. Wanted a path such as "
        f"{plan.paths[0]}, a class name such as {plan.class_names[0]!r}, or a row, 0 to "
        f"{len(plan.paths) - 1}."
    )


def _regions(
    plan: Plan, row: int, caches: Mapping[Role, Cache], whole: Box
) -> tuple[list[Box], list[bool], dict[Role, Floats]]:
    """Return boxes, flips and, by role, the features of an image's regions."""
    if plan.images["split"][row] == TEST:
        place = np.flatnonzero(plan.test == row)
        return [whole], [False], {r: c.features("test")[place] for r, c in caches.items()}
    places = np.arange(row * plan.crops, (row + 1) * plan.crops)
    regions = plan.regions[places]
    features: dict[Role, Floats] = {r: c.features("train", places) for r, c in caches.items()}
    boxes = [(left, top, right, bottom) for left, top, right, bottom in regions["box"].tolist()]
    return boxes, [bool(flip) for flip in regions["flip"]], features


def guesses(logits: Floats, names: list[str]) -> list[tuple[Guess, ...]]:
    """Return the likeliest classes of each row (n, C), of equals the first by label."""
    probabilities = np.exp(log_softmax(logits))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : region_view.TOP]
    return [
        tuple(Guess(names[c], float(p[c])) for c in best)
        for p, best in zip(probabilities, order, strict=True)
    ]
