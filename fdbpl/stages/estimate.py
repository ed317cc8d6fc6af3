"""What a build takes, told before it begins: counts, times what a small sample takes here."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from open_clip import pretrained
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from rich.filesize import decimal

from fdbpl.cache import RegionStore
from fdbpl.cache.build import unseen_views
from fdbpl.cache.keys import KEY_BYTES
from fdbpl.cache.payload import STORED, row_bytes
from fdbpl.cache.views import distinct
from fdbpl.classify.decision import CachedRole, unit
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.packaged import PACKAGED
from fdbpl.clip.params import ModelParams
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.clip.projection import last_projection, shows_hidden
from fdbpl.clip.shapes import random_model
from fdbpl.clip.vectors import template_vectors
from fdbpl.data.dataset import GENERIC_TEMPLATE
from fdbpl.data.images import decode
from fdbpl.data.registry import open_dataset
from fdbpl.methods.batch import Floats
from fdbpl.methods.method import Method
from fdbpl.methods.prompts import PromptMethod
from fdbpl.regions.boxes import REGION
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import layers_of, model_of, name_of, reads_pixels, roles_of
from fdbpl.stages.made_with import differing, of_plan
from fdbpl.stages.prepare_crops import plan_of
from fdbpl.stages.tasks import Task, tasks_of
from fdbpl.system.device import choose_device
from fdbpl.system.files import canonical_json
from fdbpl.system.progress import Report, silent
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import learn

SECONDS = 3.0  # that a batch may take to be timed, about
IMAGES = 8  # that are cut to be timed, at most
NAMES = 32  # at most, in the timed steps


@dataclass(frozen=True)
class Part:
    """Encoding by one model, cutting pixels, or all training.

    `count` is of views (regions and test images) in all caches, or of steps; `stored` of views
    among them that are in the store, or in two of the caches. The others take `seconds`, by what a
    `note` says was timed. Caches take and the store gains `bytes`, before compression.
    """

    count: int
    stored: int
    seconds: float
    bytes: int
    note: str


class Training(NamedTuple):
    """One training of all seeds: its method, the names that a step learns from, its steps."""

    method: Method
    names: tuple[str, ...]
    steps: int

    @property
    def texts(self) -> int:
        """Texts in a step: its time is about proportional to them."""
        contexts = self.method.starts if isinstance(self.method, PromptMethod) else ("other",)
        return len(contexts) * len(self.names)


def estimate(params: Params, work: Workspace, report: Report = silent) -> dict[str, Part]:
    """Return the parts of a build by one worker here: each role's encoding, and "training".

    And those of pixels and activations, where methods read them.

    Raises:
        UserError: a dataset that cannot be planned, or a model that cannot be loaded.
    """
    plans, roles = list(_plans(params, work)), roles_of(params)
    parts, models = dict[str, Part](), dict[CachedRole, ClipModel]()
    for done, role in enumerate(roles):
        parts[role], models[role] = _encoding(params, role, plans)
        report(done + 1, len(roles) + 1)
    for layer in layers_of(params):
        parts[name_of(layer)], _ = _encoding(params, "student", plans, layer)
    if reads_pixels(params):
        parts["pixels"] = _pixels(params, models["student"].preprocessing, plans)
    tasks = (task for plan, _ in plans for task in tasks_of(params, plan))
    trainings = [one for task in tasks for one in trainings_of(params, task)]
    return {**parts, "training": _training(params, models["student"], trainings)}


def lines_of(parts: Mapping[str, Part]) -> Iterator[str]:
    """Yield the lines of a small table."""
    yield f"{'':<9}{'count':>12}{'stored':>12}{'time':>20}{'bytes':>10}"
    for name, one in parts.items():
        yield f"{name:<9}{one.count:>12,}{one.stored:>12,}{_cost(one)}"
    yield f"{'in all':<33}{_cost(*parts.values())}"
    yield from (f"{name}: {one.note}" for name, one in parts.items())
    yield "An estimate for one worker here. Planning, evaluation and online models are not in it."


def _cost(*parts: Part) -> str:
    duration = timedelta(seconds=round(sum(one.seconds for one in parts)))
    return f"{duration!s:>20}{decimal(sum(one.bytes for one in parts)):>10}"


def _plans(params: Params, work: Workspace) -> Iterator[tuple[Plan, bool]]:
    """Yield the plan of each cache, and whether it is made; else it is good for counting alone."""
    for dataset in params.datasets:
        made = Plan.load(work.plan(dataset)) if work.plan(dataset).is_dir() else None
        if made is not None and differing(made.made_with, of_plan(params, dataset)) is None:
            yield made, True
        else:
            yield plan_of(params, dataset, look=False), False


def _encoding(
    params: Params, role: CachedRole, plans: list[tuple[Plan, bool]], layer: int = 0
) -> tuple[Part, ClipModel]:
    model = model_of(params, role)
    here = _is_here(model)
    section = "teacher" if role == "teacher" else "student"
    clip = load_model(model, section) if here else random_model(model.architecture, seed=0)
    tower = partial(
        ImageEncoder,
        clip,
        precision=model.precision,
        device=choose_device(params.device),
        before_projection=role == "hidden" and shows_hidden(clip),
        before_layer=layer,
    )
    encoder, payload = tower(batch_size=params.cache.batch), params.cache.payload
    tests = sum(len(plan.test) for plan, _ in plans)
    regions = params.regions.per_image * (sum(len(plan.images) for plan, _ in plans) - tests)
    made = [plan for plan, is_made in plans if is_made and here]
    store, unseen = RegionStore(params.cache.store), [np.empty((0, KEY_BYTES), np.uint8)]
    unseen += [unseen_views(plan, encoder, store, payload) for plan in made]
    stored = sum(len(plan.regions) + len(plan.test) for plan in made)
    stored -= len(distinct(np.concatenate(unseen)))
    missing = regions + tests - stored
    each = _seconds_of_a_view(params, tower, max(plans, key=lambda one: len(one[0].images))[0])
    in_caches = (regions + tests) * (KEY_BYTES + row_bytes(payload, encoder.dim))
    in_caches += regions * REGION.itemsize
    in_store = missing * (KEY_BYTES + encoder.dim * STORED[payload].itemsize)
    how = f"{len(made)} of {len(plans)} plans are made and looked up in the store"
    how = how if here else "not on this machine: random weights of its shapes, no store looked into"
    note = f"{1000 * each:.2f} ms a view by {model.architecture} {model.weights}; {how}"
    return Part(regions + tests, stored, missing * each, in_caches + in_store, note), clip


def _pixels(params: Params, how: Preprocessing, plans: list[tuple[Plan, bool]]) -> Part:
    tests = sum(len(plan.test) for plan, _ in plans)
    regions = params.regions.per_image * (sum(len(plan.images) for plan, _ in plans) - tests)
    views = regions + tests
    plan = max(plans, key=lambda one: len(one[0].images))[0]
    folder, start = open_dataset(plan.name, params.data).folder, time.perf_counter()
    for path in plan.paths[:IMAGES]:
        image = decode(folder / path)
        for _ in range(params.regions.per_image):
            how.view(image, (0, 0, *image.size))
    timed = len(plan.paths[:IMAGES]) * params.regions.per_image
    each = (time.perf_counter() - start) / max(timed, 1)
    in_cache = views * (KEY_BYTES + 3 * how.image_size**2) + regions * REGION.itemsize
    note = f"{1000 * each:.2f} ms a view, decoded and cut by one thread"
    return Part(views, 0, views * each, in_cache, note)


def _is_here(model: ModelParams) -> bool:
    """Tell whether weights are packaged, in a file, or of a tag that was fetched before."""
    tag = pretrained.get_pretrained_cfg(model.architecture, model.weights)
    hub, _, file = tag.get("hf_hub", "").rpartition("/")
    names = (HF_SAFE_WEIGHTS_NAME, file or HF_WEIGHTS_NAME)
    fetched = hub and any(isinstance(try_to_load_from_cache(hub, name), str) for name in names)
    return not hub or model.weights in PACKAGED or bool(fetched)


def _seconds_of_a_view(params: Params, tower: Callable[..., ImageEncoder], plan: Plan) -> float:
    """Time a batch of a dataset's images, tests first: read, cut as often as regions, encoded."""
    folder, crops = open_dataset(plan.name, params.data).folder, params.regions.per_image

    def seconds(batch: int) -> float:
        encoder, start = tower(batch_size=batch), time.perf_counter()
        paths = islice(cycle(reversed(plan.paths)), -(-batch // crops))
        images = (decode(folder / path) for path in paths)
        views = [encoder.pixels(one, None) for one in images for _ in range(min(crops, batch))]
        encoder.encode(np.stack(views[:batch]))
        return (time.perf_counter() - start) / batch

    seconds(1)  # warms up
    return seconds(max(1, min(params.cache.batch, int(SECONDS / seconds(1)))))


def trainings_of(params: Params, task: Task) -> list[Training]:
    """Return what is trained of a task; methods that train alike are trained once."""
    listed = task.methods(params)
    alike = {canonical_json(one.training): one for one in listed if one.takes_steps}
    names = task.plan.vocabulary[: params.train.likeliest] or task.names
    images = max(map(len, task.picks.values()), default=0)
    steps = params.train.epochs * max(1, images // params.train.batch)
    return [Training(method, names, steps) for method in alike.values() if names]


def _training(params: Params, clip: ClipModel, trainings: list[Training]) -> Part:
    """Time the steps of a training of middle size, and take the others by their texts."""
    if not trainings:
        return Part(0, 0, 0.0, 0, "no method learns")
    timed = sorted(trainings, key=lambda one: one.texts)[len(trainings) // 2]
    timed = timed._replace(names=timed.names[:NAMES])
    each = _seconds_of_a_step(params, clip, timed)
    seconds = each * sum(one.steps * one.texts for one in trainings) / timed.texts
    note = (
        f"{len(trainings)} trainings of {len(params.seeds)} seeds; {1000 * each:.2f} ms a step "
        f"of {timed.method.name} with {len(timed.names)} names"
    )
    return Part(sum(one.steps for one in trainings), 0, seconds, 0, note)


def _seconds_of_a_step(params: Params, clip: ClipModel, training: Training) -> float:
    """Train for a few epochs of one step, on vectors of names in place of regions' features."""
    vectors = template_vectors(clip, training.names, GENERIC_TEMPLATE)
    images = np.arange(params.train.batch)
    labels, ends = images % len(vectors), list[float]()
    shape, below = (3, clip.image_size, clip.image_size), 0
    if layer := training.method.image_layer:
        below = ImageEncoder(clip, precision="fp32", batch_size=1, before_layer=layer).dim

    def note_end(*_: int) -> None:
        if clip.text_device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    learn(
        clip,
        training.names,
        student=_as_seen(clip, training.method, vectors)[labels],
        teacher=vectors[labels],
        teacher_vectors=vectors,
        teacher_scale=clip.logit_scale,
        labels=labels,
        anchors=vectors,
        pixels=lambda rows: torch.zeros((*rows.shape, *shape), dtype=torch.uint8),
        activations=lambda rows: torch.zeros((*rows.shape, below)),
        picks=dict.fromkeys(params.seeds, images),
        likeliest=len(vectors),  # so that nothing is learned beside contexts
        method=training.method,
        params=params.train.model_copy(update={"epochs": 5, "lr": 1e-6}),  # does not diverge
        device=choose_device(params.device),
        report=note_end,
    )
    return float(np.diff(ends).min())  # of an epoch that no gradients are probed in


def _as_seen(clip: ClipModel, method: Method, vectors: Floats) -> Floats:
    """Return unit vectors (C, D) as a method sees features, (C, E) before a last projection."""
    if method.sees != "hidden" or not shows_hidden(clip):
        return vectors
    return unit(vectors @ last_projection(clip).numpy().T)
