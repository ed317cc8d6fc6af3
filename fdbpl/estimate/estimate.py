"""What a build will take on this machine: bytes, hours and memory, before it begins."""

import os
import resource
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fdbpl.cache import RegionStore
from fdbpl.cache.build import unseen_views
from fdbpl.cache.payload import STORED, Payload, row_bytes
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.device import choose_device
from fdbpl.estimate.needs import Need, needs_of
from fdbpl.estimate.timing import Timed, encoder_time, pixel_time, step_time
from fdbpl.estimate.weights_at_hand import model_to_time
from fdbpl.methods.names import TRAINED
from fdbpl.methods.table import trained_method
from fdbpl.params import ModelParams, Params
from fdbpl.progress import Report, silent
from fdbpl.stages.caches import Role
from fdbpl.workspace import Workspace

ROLES: tuple[Role, ...] = ("teacher", "student")
PAYLOADS: tuple[Payload, ...] = ("float32", "float16", "int8")
"""Whose bytes are told whichever is chosen."""
KEY_BYTES = 16
"""Of a view in the store; a cache has 41 more for a region, box and image among them."""


@dataclass(frozen=True)
class Encoding:
    """One model's part of a build.

    Attributes:
        model: architecture and weights.
        own_weights: whether those were timed, or random ones of the same shapes.
        views: regions and test images of all caches.
        stored: those of them that need no encoding, because the store holds them or another cache
            has the same; None where it cannot be known.
        view_ms: milliseconds of a view, read, cut, normalised and encoded.
        timed_batch: views in the batch that was timed.
        seconds: of all that is to be encoded.
        bytes: of features that the store gains and all caches take, before compression.
        regions_only: bytes of the training regions by payload, stored once.
    """

    model: str
    own_weights: bool
    views: int
    stored: int | None
    view_ms: float
    timed_batch: int
    seconds: float
    bytes: int
    regions_only: Mapping[str, int]


@dataclass(frozen=True)
class Training:
    """All methods' training on one cache, all seeds in one pass.

    Attributes:
        steps: of one method.
        seconds: of all methods.
        timed_classes: classes in the steps that were timed.
        features_mb: MiB of both models' features, held in memory.
    """

    dataset: str
    protocol: str
    classes: int
    methods: int
    steps: int
    seconds: float
    timed_classes: int
    features_mb: float


@dataclass(frozen=True)
class Estimate:
    """The whole build.

    `planned` of `caches` have a plan; the others' counts take every image for readable and every
    view for one that no run has encoded. `peak_mb` is what this process, which ran a batch of
    both towers and a step of every method, held at most.
    """

    machine: str
    planned: int
    caches: int
    encoding: Mapping[str, Encoding]
    training: Sequence[Training]
    encode_seconds: float
    train_seconds: float
    bytes: int
    peak_mb: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def estimate(params: Params, work: Workspace, report: Report = silent) -> Estimate:
    """Count what has to be encoded and learned, and time a little of each on this machine.

    Args:
        params: of the build.
        work: where its plans and caches would lie.
        report: follows what is timed.

    Raises:
        UserError: a dataset that is not there, a damaged plan, an unknown architecture, or a
            weights file that does not fit.
    """
    needs = needs_of(params, work)
    learning = [need for need in needs if need.names]
    total = len(ROLES) + len(learning)
    device = choose_device(params.device)
    encoding: dict[str, Encoding] = {}
    clips: dict[str, ClipModel] = {}
    widths: dict[str, int] = {}
    for done, role in enumerate(ROLES, start=1):
        clips[role], own = model_to_time(_model(params, role), role)
        encoding[role], widths[role] = _encoding(params, role, clips[role], own, needs, device)
        report(done, total)
    training = []
    clips["student"].move_text(device)
    for done, need in enumerate(learning, start=len(ROLES) + 1):
        training.append(_training(params, clips["student"], need, sum(widths.values())))
        report(done, total)
    return Estimate(
        machine=f"{os.cpu_count()} cores, {device}",
        planned=sum(need.plan is not None for need in needs),
        caches=len(needs),
        encoding=encoding,
        training=training,
        encode_seconds=sum(one.seconds for one in encoding.values()),
        train_seconds=sum(one.seconds for one in training),
        bytes=sum(one.bytes for one in encoding.values()),
        peak_mb=_peak_mb(device),
    )


def _model(params: Params, role: Role) -> ModelParams:
    return params.teacher if role == "teacher" else params.student


def _encoding(
    params: Params, role: Role, clip: ClipModel, own: bool, needs: Sequence[Need], device: str
) -> tuple[Encoding, int]:
    """Return a model's part, and the width of its features."""
    model = _model(params, role)
    timed = encoder_time(clip, model.precision, params.cache.batch, device)
    pixels = _pixel_seconds(clip, needs, params.regions.per_image)
    cores = os.cpu_count() or 1
    # a GPU encodes while the cores cut; on a CPU both want the same cores
    view = (
        max(timed.seconds, pixels / cores) if device == "cuda" else timed.seconds + pixels / cores
    )
    encoder = ImageEncoder(
        clip, precision=model.precision, batch_size=params.cache.batch, device=device
    )
    views, stored = _views(params, encoder if own else None, needs)
    width = _width(clip, device)
    payload = params.cache.payload
    kept = width * STORED[payload].itemsize
    to_encode = views - (stored or 0)
    regions = sum(need.regions for need in needs)
    found = Encoding(
        model=f"{model.architecture}, {model.weights}",
        own_weights=own,
        views=views,
        stored=stored,
        view_ms=1000 * view,
        timed_batch=timed.size,
        seconds=to_encode * view,
        bytes=to_encode * (kept + KEY_BYTES)
        + sum(need.views for need in needs) * (row_bytes(payload, width) + KEY_BYTES),
        regions_only={name: regions * row_bytes(name, width) for name in PAYLOADS},
    )
    return found, width


def _pixel_seconds(clip: ClipModel, needs: Sequence[Need], crops: int) -> float:
    """Return one thread's seconds of a view, over some images of every dataset."""
    found = [(need, pixel_time(clip, need.folder, need.sample, crops)) for need in needs]
    return sum(need.views * seconds for need, seconds in found) / sum(n.views for n in needs)


def _views(
    params: Params, encoder: ImageEncoder | None, needs: Sequence[Need]
) -> tuple[int, int | None]:
    """Return how many distinct views there are, and how many of them the store holds."""
    if encoder is None:
        return sum(need.views for need in needs), None
    store = RegionStore(params.cache.store)
    unseen: set[bytes] = set()
    views = missing = 0
    for need in needs:
        views += need.views
        if need.plan is None:
            missing += need.views
            continue
        keys = unseen_views(need.plan, encoder, store, params.cache.payload)
        new = {key.tobytes() for key in keys} - unseen
        unseen |= new
        missing += len(new)
    return views, views - missing


def _width(clip: ClipModel, device: str) -> int:
    side = clip.image_size
    with torch.inference_mode():
        image = torch.zeros(1, 3, side, side, device=device)
        features: torch.Tensor = clip.network.get_submodule("visual")(image)
    return int(features.shape[1])


def _training(params: Params, clip: ClipModel, need: Need, width: int) -> Training:
    """Time a step of one method for each number of contexts: the text tower's are nearly all."""
    methods = [
        trained_method(name, params.objectives.get(name))
        for name in params.methods
        if name in TRAINED
    ]
    timed: dict[int, Timed] = {}
    for method in methods:
        contexts = len(method.starts)
        if contexts not in timed:
            timed[contexts] = step_time(clip, method, need.names, params)
    batch = min(params.train.batch, need.images)
    steps = params.train.epochs * max(1, need.images // batch)
    counts = Counter(len(method.starts) for method in methods)
    seconds = sum(
        count * steps * timed[contexts].seconds * len(need.names) / timed[contexts].size
        for contexts, count in counts.items()
    )
    return Training(
        dataset=need.dataset,
        protocol=need.protocol,
        classes=len(need.names),
        methods=len(methods),
        steps=steps,
        seconds=seconds,
        timed_classes=min((one.size for one in timed.values()), default=0),
        features_mb=need.regions * row_bytes(params.cache.payload, width) / 2**20,
    )


def _peak_mb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
