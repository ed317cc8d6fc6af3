"""What a dataset's training knows of student and teacher: from a cache, or from the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import Cache
from fdbpl.cache.manifest import Identity, require_identity
from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.classify.decision import Role
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.projection import shows_hidden
from fdbpl.data.registry import open_dataset
from fdbpl.methods.features import STREAM_BYTES, Lookup, cached_features
from fdbpl.methods.pixels import CachedPixels
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import (
    TEXTS,
    layers_of,
    model_of,
    open_activations,
    open_pixels,
    open_role,
    reads_pixels,
    roles_of,
)
from fdbpl.stages.tasks import Task
from fdbpl.stages.texts import texts_of
from fdbpl.system.device import choose_device
from fdbpl.system.files import canonical_json, sha256
from fdbpl.system.workspace import Workspace
from fdbpl.training.online import OnlineTower


@dataclass(frozen=True)
class Seen:
    """What the student's image tower is given of regions, for methods that run it.

    Attributes:
        pixels: rows (...) to pixels (..., 3, S, S), uint8; None where no method reads them.
        activations: by layer what it is given (R, (1 + N) W), or a function from rows to it.
    """

    pixels: Lookup | None = None
    activations: Mapping[int, NDArray[np.floating[Any]] | Lookup] = field(default_factory=dict)


NOTHING_SEEN = Seen()


@dataclass(frozen=True)
class Side:
    """One model's side of training.

    Attributes:
        read: returns the features (R, D) of the plan's regions, or a function from rows to them.
        texts: its class vectors (C, D) by prompt, all classes by label: "template" the dataset's,
            what else a cache has of this model, and (L, D) of the plan's "vocabulary", if any.
        logit_scale: of the model.
        digest: of all that decides the features.
    """

    read: Callable[[], NDArray[np.floating[Any]] | Lookup]
    texts: Mapping[str, NDArray[np.floating[Any]]]
    logit_scale: float
    digest: str

    @cached_property
    def features(self) -> NDArray[np.floating[Any]] | Lookup:
        """What `read` gives, read once and held."""
        return self.read()

    def learned(self, task: Task) -> NDArray[np.floating[Any]]:
        """Return the class vectors (L, D) of a task's `names`."""
        vocabulary = self.texts.get("vocabulary")
        return self.texts["template"][list(task.labels)] if vocabulary is None else vocabulary

    def ensemble(self, task: Task) -> NDArray[np.floating[Any]] | None:
        """Return those under several templates; of a vocabulary nobody has them."""
        if "vocabulary" in self.texts or "ensemble" not in self.texts:
            return None
        return self.texts["ensemble"][list(task.labels)]


def sides_of(params: Params, plan: Plan, work: Workspace, clip: ClipModel) -> dict[Role, Side]:
    """Return what training knows of regions, by role.

    Raises:
        UserError: a cache is missing, damaged, or made from another plan or model; or online a
            model cannot be had.
    """
    student = student_side(params, plan, work, clip)
    found: dict[Role, Side] = {
        "student": student,
        "teacher": teacher_side(params, plan, work),
    }
    if "hidden" in roles_of(params):
        found["hidden"] = hidden_side(params, plan, work, clip, student)
    return found


def seen_of(params: Params, plan: Plan, work: Workspace, clip: ClipModel) -> Seen:
    """Return what the student's image tower is given of regions, where methods run it.

    Raises:
        UserError: a cache of it is missing, damaged, or made from another plan, student or
            pre-processing.
    """
    memory, pixels = params.cache.memory_mb << 20, None
    if reads_pixels(params):
        cache = open_pixels(plan, work, clip.preprocessing)
        pixels = CachedPixels(PixelStream(cache, memory=min(memory, STREAM_BYTES), held=memory))
    layers = {layer: open_activations(layer, params, plan, work) for layer in layers_of(params)}
    share = memory // max(1, len(layers))
    return Seen(pixels, {layer: cached_features(cache, share) for layer, cache in layers.items()})


def student_side(params: Params, plan: Plan, work: Workspace, clip: ClipModel) -> Side:
    """Return the student's side.

    Raises:
        UserError: its cache is missing, damaged, or made from another plan or student.
    """
    if params.student.features == "online":
        return _online("student", params, plan, clip)
    return _cached("student", params, plan, work, {"encoder": dict(clip.identity)})


def hidden_side(
    params: Params, plan: Plan, work: Workspace, clip: ClipModel, student: Side
) -> Side:
    """Return the student's side with its features before its last projection, in unit length.

    Of a student that shows none, those it has.

    Raises:
        UserError: as of `student_side`.
    """
    if params.student.features == "online":
        before, precision = shows_hidden(clip), params.student.precision
        tower, digest = _tower(params, plan, clip, precision, before_projection=before)
        return replace(student, read=lambda: tower, digest=digest)
    cache = _checked("hidden", params, plan, work, {"encoder": dict(clip.identity)})
    digest = _digest(cache.manifest.identity)
    return replace(student, read=partial(_held, params, cache), digest=digest)


def teacher_side(params: Params, plan: Plan, work: Workspace) -> Side:
    """Return the teacher's side.

    Raises:
        UserError: its cache is missing, damaged, or made from another plan or teacher; or online
            its weights cannot be had.
    """
    if params.teacher.mode == "online":
        return _online("teacher", params, plan, load_model(params.teacher, "teacher"))
    return _cached("teacher", params, plan, work, {})


def _cached(
    role: Role,
    params: Params,
    plan: Plan,
    work: Workspace,
    identity: Mapping[str, Any],
) -> Side:
    cache = _checked(role, params, plan, work, identity)
    names = [*(TEXTS if role == "student" else TEXTS[:1])]
    names += ["vocabulary"] if plan.vocabulary else []
    return Side(
        read=partial(_held, params, cache),
        texts={name: cache.text(name) for name in names},
        logit_scale=cache.manifest.identity.model["logit_scale"],
        digest=_digest(cache.manifest.identity),
    )


def _checked(
    role: Role, params: Params, plan: Plan, work: Workspace, identity: Mapping[str, Any]
) -> Cache:
    cache = open_role(role, params, plan, work)
    require_identity(cache.manifest.identity, identity, str(work.cache(plan.name, role)))
    return cache


def _held(params: Params, cache: Cache) -> NDArray[Any] | Lookup:
    half = (params.cache.memory_mb << 20) // 2  # the other half is the other model's
    return cached_features(cache, half)


def _online(role: Role, params: Params, plan: Plan, clip: ClipModel) -> Side:
    clip.move_text(choose_device(params.device))
    tower, digest = _tower(params, plan, clip, model_of(params, role).precision)
    return Side(lambda: tower, texts_of(plan, clip, role), clip.logit_scale, digest)


def _tower(
    params: Params,
    plan: Plan,
    clip: ClipModel,
    precision: str,
    *,
    before_projection: bool = False,
) -> tuple[OnlineTower, str]:
    """Return what encodes a plan's regions anew, and a digest of all that decides the features."""
    encoder = ImageEncoder(
        clip,
        precision=precision,
        batch_size=params.train.batch,
        device=choose_device(params.device),
        before_projection=before_projection,
    )
    folder: Path = open_dataset(plan.name, params.data).folder
    return OnlineTower(plan, folder, encoder), sha256(canonical_json(encoder.fingerprint))


def _digest(identity: Identity) -> str:
    """Return a digest of how features are made and kept, whatever else the cache holds."""
    decides = [identity.model, identity.encoder, identity.decoder, identity.payload]
    return sha256(canonical_json(decides))
