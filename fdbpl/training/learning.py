"""From features and class names to what a method learns, and to what decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.classify.decision import Decision, Role
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection, shows_hidden
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.clip.prompting import TextEncoder, prompted_text
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.clip.vectors import class_vectors, template_vectors
from fdbpl.methods.features import CPU, CachedColumn, Lookup, PairedFeatures, Teacher
from fdbpl.methods.method import Classes, Method
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.params import TrainParams
from fdbpl.methods.region_pairs import RegionPairs, SourceRegions
from fdbpl.methods.registry import find_method
from fdbpl.methods.training_data import TrainingData
from fdbpl.methods.vocabulary import VocabularyText
from fdbpl.system.device import require_device, resident
from fdbpl.system.progress import Report, silent
from fdbpl.training.checks import require_fitting, require_images, require_rows
from fdbpl.training.once import by_steps, in_closed_form, joined
from fdbpl.training.store import TrainingStore
from fdbpl.training.threads import threads_for

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Learned:
    """What one seed learned.

    Attributes:
        method: that learned.
        names: of the classes learned; none of a vocabulary.
        arrays: its tensors by name, and what followed from its regions in closed form.
        history: the loss's "terms" by epoch, "gradients", "diagnoses" and "inactive" terms, as
            `fdbpl.training.loop.Trained` has them, and what closed forms tell.
        keys: under which a store has them, those of the closed forms first; none without a store.
    """

    method: Method
    names: tuple[str, ...]
    arrays: Mapping[str, Floats]
    history: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()


def text_encoder(
    clip: ClipModel,
    class_names: Sequence[str],
    params: TrainParams | None = None,
    words: str = POSITIVE,
) -> TextEncoder:
    """Return the function from contexts (K, M, W), or deep ones, to class features (K, C, D).

    `params` give its precision and its memory; by default it is exact. Of the `words`, M tokens,
    only their number matters.
    """
    chosen = params or TrainParams()
    tokens = tokenize_prompts(clip, words, tuple(class_names))
    return prompted_text(clip.text_tower, tokens, chosen.precision, chosen.memory_mb)


def classes_of(
    clip: ClipModel,
    names: Sequence[str],
    template: str | None = None,
    **known: Any,
) -> Classes:
    """Return a list of classes as the student knows their names, and what else is `known`.

    Raises:
        UserError: a template without its one {}, or a name too long.
    """
    texts = {} if template is None else {"template": template_vectors(clip, names, template)}
    encode = partial(class_vectors, clip, class_names=names)
    return Classes(
        **{"texts": texts, "encode": encode, "clip": clip, **known},
        names=names,
        scale=clip.logit_scale,
    )


def classifier(
    clip: ClipModel,
    learned: Learned,
    class_names: Sequence[str],
    template: str | None = None,
    teacher_vectors: Floats | None = None,
    *,
    same_domain: bool = True,
) -> Decision:
    """Return how what one seed learned classifies any class list.

    Args:
        clip: the student.
        learned: of one seed, as `learn` returns it.
        class_names: C names.
        template: hand-written, with one {} for the name; for methods that take a share of it.
        teacher_vectors: (C, E) the teacher's unit class vectors, for methods that built a bridge.
        same_domain: whether the classes are of the domain that was learned, be its pictures
            shifted; of another one what was fitted to pictures knows nothing.

    Raises:
        UserError: no template for a method that takes a share of it, no teacher's vectors for one
            with a bridge, or others than it was built with; or a name too long.
    """
    if teacher_vectors is not None:
        require_rows("teacher_vectors", teacher_vectors, (len(class_names), None), "a row a class")
    classes = classes_of(
        clip,
        class_names,
        template,
        learned=learned.names,
        teacher=teacher_vectors,
        same_domain=same_domain,
    )
    return learned.method.decision(learned.arrays, classes)


def learn(
    clip: ClipModel,
    class_names: Sequence[str],
    *,
    student: Floats | Lookup,
    teacher: Floats | Lookup,
    teacher_vectors: Floats,
    teacher_scale: float,
    labels: Ints,
    anchors: Floats | None = None,
    areas: Floats | Lookup | None = None,
    pixels: NDArray[np.uint8] | Lookup | None = None,
    activations: Floats | Lookup | None = None,
    ensemble: Floats | None = None,
    crops: int = 1,
    picks: Mapping[int, Sequence[int] | Ints] | None = None,
    likeliest: int | None = None,
    method: str | Method = "fdbpl",
    options: Mapping[str, Any] | None = None,
    params: TrainParams | None = None,
    device: str | None = None,
    store: TrainingStore | None = None,
    report: Report = silent,
) -> dict[int, Learned]:
    """Learn a method from features of regions, for every seed.

    Args:
        clip: the student; its image tower is not used.
        class_names: C names.
        student: (R, D) unit features of regions; region `i * crops + k` is crop k of image i.
            Or a function from rows to them, such as `online.OnlineTower`. For a method that sees
            "hidden" they are (R, H), before the student's last projection; methods with a bridge
            do with (R, D), less well.
        teacher: (R, E) unit features of the same regions, or a function.
        teacher_vectors: (C, E) the teacher's unit class vectors, as `template_vectors` gives.
        teacher_scale: exp(logit_scale) for the teacher's probabilities.
        labels: (R / crops,) for every image its position in `class_names`; only methods with
            labels read them.
        anchors: (C, D) the student's own `template_vectors` of a hand-written template; only
            methods that keep near to them, or build a bridge, need them.
        areas: (R,) the share of its image that each region shows, or a function from rows to
            them; by default the whole.
        pixels: (R, 3, S, S) of regions, uint8, or a function from rows to them; only methods that
            prompt the image tower read them.
        activations: (R, (1 + N) W) that the image tower is given at the layer where the method's
            prompts enter, or a function from rows to them; read in place of pixels where that is
            not the first.
        ensemble: (C, D) the student's own `template_vectors` of several templates; PromptSRC and
            its kin keep near to them, or else to the anchors.
        crops: regions of each image.
        picks: for each seed the images to learn from, equally many; by default seed 1 learns
            from all. A seed decides the order of images and crops.
        likeliest: class-agnostic: a step learns from that many of `class_names` alone, those
            that the teacher finds likeliest in its batch; all of them where there are no more.
            No class is known then, so nothing follows in closed form.
        method: a name of the registry, or a method of your own.
        options: of a method by name, to change some.
        params: the optimiser and its schedule.
        device: "cpu", "cuda" or "cuda:1": where to learn. The student's text tower moves there,
            and so do features given whole, if they fit; by default it is where the tower is.
        store: of trainings: what it has is not learned again, and a long training goes on where
            it was interrupted.
        report: follows the epochs.

    Raises:
        UserError: an unknown method or option, a class name too long for the student, no anchors
            for a method that needs them, arrays that do not fit together or are not of unit rows,
            seeds that learn from unequally many images, a device that is not there, or what is
            learned is not finite any more.
    """
    chosen = find_method(method, options) if isinstance(method, str) else method
    params = params or TrainParams()
    data = training_data(
        clip,
        class_names,
        student=student,
        teacher=teacher,
        teacher_vectors=teacher_vectors,
        teacher_scale=teacher_scale,
        labels=labels,
        anchors=anchors,
        areas=areas,
        pixels=pixels,
        activations={} if activations is None else {chosen.image_layer or 0: activations},
        ensemble=ensemble,
        crops=crops,
        picks=picks,
        likeliest=likeliest,
        params=params,
        device=device,
        sees=chosen.sees,
        takes_projected=chosen.takes_projected,
    )
    if chosen.labelled:
        require_images(data.labels.numpy(), data.picks, len(class_names))
    return learn_method(chosen, data, params, store, report)


def training_data(
    clip: ClipModel,
    class_names: Sequence[str],
    *,
    student: Floats | Lookup,
    teacher: Floats | Lookup,
    teacher_vectors: Floats,
    teacher_scale: float,
    labels: Ints,
    anchors: Floats | None = None,
    areas: Floats | Lookup | None = None,
    pixels: NDArray[np.uint8] | Lookup | None = None,
    activations: Mapping[int, Floats | Lookup] = MappingProxyType({}),
    ensemble: Floats | None = None,
    crops: int = 1,
    picks: Mapping[int, Sequence[int] | Ints] | None = None,
    likeliest: int | None = None,
    params: TrainParams,
    device: str | None = None,
    sees: Role = "student",
    takes_projected: bool = False,
    source: SourceRegions | None = None,
) -> TrainingData:
    """Return what methods learn from that see a role's features; the rest as of `learn`.

    With `takes_projected` features before the last projection may also be given after it.
    Activations are by layer of the image tower.
    """
    labels = np.asarray(labels, np.int64)
    chosen = {1: np.arange(len(labels))} if picks is None else picks
    require_images(labels, chosen, None)
    if device is not None:
        require_device(device)
        clip.move_text(device)
    here = clip.text_device
    width = template_vectors(clip, class_names[:1], f"{POSITIVE} {{}}.").shape[-1]
    is_hidden = sees == "hidden" and shows_hidden(clip)
    before = len(last_projection(clip)) if is_hidden else width
    if takes_projected and isinstance(student, np.ndarray) and student.shape[-1] == width:
        is_hidden, before = before == width and is_hidden, width
    require_fitting(
        (len(class_names), len(labels) * crops, width, before),
        student=student,
        teacher=teacher,
        teacher_vectors=teacher_vectors,
        anchors=anchors,
        ensemble=ensemble,
        areas=areas,
    )
    regions = region_pairs(student, teacher, areas, crops, here)
    return TrainingData(
        clip=clip,
        names=tuple(class_names),
        labels=torch.from_numpy(labels),
        picks={seed: np.asarray(images) for seed, images in chosen.items()},
        regions=regions,
        teacher=Teacher(torch.from_numpy(teacher_vectors).float().to(here), teacher_scale),
        text=_text(clip, class_names, params, likeliest),
        knows_classes=likeliest is None,
        anchors=None if anchors is None else torch.from_numpy(anchors).float().to(here),
        source=source,
        sees_hidden=is_hidden,
        pixels=_pixels(pixels),
        activations={layer: _lookup(one, CPU) for layer, one in activations.items()},
        image_tower=cache(partial(_image_tower, clip, params)),
        ensemble=None if ensemble is None else torch.from_numpy(ensemble).float().to(here),
    )


def region_pairs(
    student: Floats | Lookup,
    teacher: Floats | Lookup,
    areas: Floats | Lookup | None,
    crops: int,
    device: torch.device,
) -> RegionPairs:
    """Return regions as both models see them, given as of `learn`, for training on a device."""
    features = PairedFeatures(_lookup(student, device), _lookup(teacher, device), device)
    return RegionPairs(features, crops, _whole if areas is None else _lookup(areas, device))


def learn_method(
    method: Method,
    data: TrainingData,
    params: TrainParams,
    store: TrainingStore | None = None,
    report: Report = silent,
) -> dict[int, Learned]:
    """Learn a method from data that others may learn from, too; see `learn`."""
    with threads_for(len(data.picks) * _names_at_once(data) * 4 * data.teacher.vectors.shape[1]):
        # closed forms before the steps, since a full disk is better told before them
        found = {seed: in_closed_form(method, data, seed, store) for seed in data.picks}
        if method.takes_steps:
            for seed, steps in by_steps(method, data, params, store, report).items():
                found[seed] = joined(found[seed], steps)
    names = tuple(data.names) if data.knows_classes else ()
    return {seed: Learned(method, names, *parts) for seed, parts in found.items()}


def _names_at_once(data: TrainingData) -> int:
    return data.text.count if isinstance(data.text, VocabularyText) else len(data.names)


def _text(
    clip: ClipModel, class_names: Sequence[str], params: TrainParams, likeliest: int | None
) -> TextEncoder | VocabularyText:
    if likeliest is None or likeliest >= len(class_names):
        return text_encoder(clip, class_names, params)
    tokens = tokenize_prompts(clip, POSITIVE, tuple(class_names))
    return VocabularyText(
        likeliest,
        lambda chosen: prompted_text(
            clip.text_tower, tokens.of(chosen), params.precision, params.memory_mb
        ),
    )


def _image_tower(clip: ClipModel, params: TrainParams, first_layer: int) -> PromptedImage:
    """Return the image tower for tokens that enter at a layer, on the device of the text tower."""
    clip.network.get_submodule("visual").to(clip.text_device)
    return PromptedImage(
        clip, first=first_layer, precision=params.precision, memory_mb=params.memory_mb
    )


def _pixels(values: NDArray[np.uint8] | Lookup | None) -> Lookup | None:
    if isinstance(values, np.ndarray):
        whole = torch.from_numpy(values)
        return lambda rows: whole[rows]
    return values


def _lookup(values: Floats | Lookup, device: torch.device) -> Lookup:
    if isinstance(values, np.ndarray):
        return CachedColumn(resident(torch.from_numpy(values), device))
    return values


def _whole(rows: Tensor) -> Tensor:
    """Return that regions show the whole of their images."""
    return torch.ones(rows.shape)
