"""From features and class names to learned prompts and class vectors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import TextEncoder, prompted_text
from fdbpl.clip.tokens import embed_words, require_room, tokenize_prompts
from fdbpl.methods.decision import Decision
from fdbpl.methods.inference import POSITIVE_ONLY, Inference
from fdbpl.methods.names import LABELLED
from fdbpl.methods.table import POSITIVE, Method, trained_method
from fdbpl.settings.params import TEMPLATE, TrainParams, has_one_gap
from fdbpl.system.device import require_device, resident
from fdbpl.system.errors import UserError
from fdbpl.system.progress import Report, silent
from fdbpl.training.features import CachedColumn, Lookup, PairedFeatures, Teacher
from fdbpl.training.given import require_images, require_rows
from fdbpl.training.interim import Interim
from fdbpl.training.knowledge import bridged, refined_images, remembered
from fdbpl.training.likeliest import LikeliestText
from fdbpl.training.loop import Task, Trained, train
from fdbpl.training.scratch import Parts
from fdbpl.training.threads import threads_for

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def template_vectors(
    clip: ClipModel, class_names: Sequence[str], *templates: str
) -> NDArray[np.float32]:
    """Return the zero-shot classifier of one or several templates, (C, D), as open_clip's own.

    A class's unit vector is the mean of its unit vectors under every template, renormalised.

    Raises:
        UserError: a template without its one {}, or a class name too long for the text tower.
    """
    for template in templates:
        if not has_one_gap(template):
            raise UserError(f"template {template!r}: wanted {TEMPLATE}.")
        require_room(clip, class_names, [template.format(name) for name in class_names])
    vectors = open_clip.build_zero_shot_classifier(
        clip.network,
        clip.tokenizer,
        list(class_names),
        list(templates),
        num_classes_per_batch=64,
        device=clip.text_device,
    )
    return vectors.T.contiguous().cpu().numpy()


def text_encoder(
    clip: ClipModel,
    class_names: Sequence[str],
    params: TrainParams | None = None,
    words: str = POSITIVE,
) -> TextEncoder:
    """Return the function from contexts (K, M, W) to class features (K, C, D).

    `params` give its precision and its memory; by default it is exact. Of the `words`, M tokens,
    only their number matters.
    """
    chosen = params or TrainParams()
    tokens = tokenize_prompts(clip, words, tuple(class_names))
    return prompted_text(clip.text_tower, tokens, chosen.precision, chosen.memory_mb)


def class_vectors(
    clip: ClipModel, contexts: Tensor, class_names: Sequence[str]
) -> NDArray[np.float32]:
    """Return the unit vectors (K, C, D) of any class list under contexts (K, M, W).

    Of no contexts, (0, C, 0).
    """
    if not len(contexts):
        return np.empty((0, len(class_names), 0), np.float32)
    words = " ".join(["x"] * contexts.shape[1])  # a letter is a token of every CLIP's tokenizer
    with torch.inference_mode():
        encoder = text_encoder(clip, class_names, words=words)
        return encoder(contexts.to(clip.text_device)).cpu().numpy()


def classifier(
    clip: ClipModel,
    trained: Trained,
    learned_names: Sequence[str],
    class_names: Sequence[str],
    inference: Inference = POSITIVE_ONLY,
    template: str | None = None,
    teacher_vectors: Floats | None = None,
    same_domain: bool = True,
) -> Decision:
    """Return how what one seed learned classifies any class list.

    Args:
        clip: the student.
        trained: of one seed, as `learn` returns it.
        learned_names: the names given to `learn`.
        class_names: C names.
        inference: of the method that learned.
        template: hand-written, with one {} for the name; for methods that take a share of it.
        teacher_vectors: (C, E) the teacher's unit class vectors, for methods that built a bridge.
        same_domain: whether the classes are of the domain that was learned, be its pictures
            shifted; elsewhere prompts alone speak, and no memory or bridge.

    Raises:
        UserError: no template for a method that takes a share of it, no teacher's vectors for one
            with a bridge, or others than it was built with; or a name too long.
    """
    if teacher_vectors is not None and trained.bridge is not None:
        width = trained.bridge.shape[1] - 1 - trained.bridge.shape[0]  # (D, 1 + D + E)
        require_rows(
            "teacher_vectors",
            teacher_vectors,
            (len(class_names), width),
            "a row for each of class_names, of the teacher that was learned from",
        )
    return inference.decision(
        class_vectors(clip, trained.contexts, class_names),
        clip.logit_scale,
        class_names,
        template=None if template is None else template_vectors(clip, class_names, template),
        teacher=teacher_vectors,
        memory=trained.memory,
        learned_names=learned_names,
        bridge=trained.bridge,
        same_domain=same_domain,
    )


def starting_contexts(clip: ClipModel, method: Method) -> Tensor:
    """Return the contexts (K, M, W) a method starts from: the embeddings of its words.

    Of a method that learns none, (0, M, W).

    Raises:
        UserError: the words have different numbers of tokens under this tokeniser.
    """
    if not method.starts:
        return embed_words(clip, POSITIVE)[None][:0]
    contexts = [embed_words(clip, words) for words in method.starts]
    lengths = [len(context) for context in contexts]
    if len(set(lengths)) > 1:
        raise UserError(
            f"the starts {method.starts} have {lengths} tokens for "
            f"{clip.identity['architecture']}, wanted equal numbers."
        )
    return torch.stack(contexts)


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
    crops: int = 1,
    picks: Mapping[int, Sequence[int] | Ints] | None = None,
    likeliest: int | None = None,
    method: str = "fdbpl",
    options: Mapping[str, Any] | None = None,
    params: TrainParams | None = None,
    device: str | None = None,
    interim: Interim | None = None,
    taught: Mapping[int, Trained] | None = None,
    report: Report = silent,
) -> dict[int, Trained]:
    """Learn a method's contexts from features of regions, for every seed.

    Args:
        clip: the student; its image tower is not used.
        class_names: C names.
        student: (R, D) unit features of regions; region `i * crops + k` is crop k of image i.
            Or a function from rows to them, such as `online.OnlineTower`.
        teacher: (R, E) unit features of the same regions, or a function.
        teacher_vectors: (C, E) the teacher's unit class vectors, as `template_vectors` gives.
        teacher_scale: exp(logit_scale) for the teacher's probabilities.
        labels: (R / crops,) for every image its position in `class_names`; only methods with
            labels read them.
        anchors: (C, D) the student's own `template_vectors` of a hand-written template; only
            methods that keep near to them, or build a bridge, need them.
        areas: (R,) the share of its image that each region shows, or a function from rows to
            them; by default the whole.
        crops: regions of each image.
        picks: for each seed the images to learn from, equally many; by default seed 1 learns
            from all. A seed decides the order of images and crops.
        likeliest: class-agnostic: a step learns from that many of `class_names` alone, those
            that the teacher finds likeliest in its batch; all of them where there are no more.
            No class is known then, so no method remembers any or builds a bridge.
        method: a trained method's name.
        options: of an FDBPL preset, to change some.
        params: the optimiser and its schedule.
        device: "cpu", "cuda" or "cuda:1": where to learn. The student's text tower moves there,
            and so do features given whole, if they fit; by default it is where the tower is.
        interim: keeps where a long training stands; given again, it goes on from there.
        taught: what this returned, of the same data, for a method that agrees in
            `Method.training`: its contexts are taken, and not learned a second time.
        report: follows the epochs.

    Returns:
        The contexts and the history of each seed.

    Raises:
        UserError: an unknown method or option, a class name too long for the student, no anchors
            for a method that needs them, arrays that do not fit together or are not of unit rows,
            seeds that learn from unequally many images, a device that is not there, or a
            training that diverged.
    """
    learned = trained_method(method, options)
    chosen = {1: np.arange(len(labels))} if picks is None else picks
    labels = np.asarray(labels, np.int64)
    require_images(labels, chosen, len(class_names) if method in LABELLED else None)
    if learned.inference.bridge_share and likeliest is None and anchors is None:
        raise UserError(
            f"method {method!r} builds a bridge and needs anchors, and none were given. Pass "
            "learn(anchors=...), or set its bridge_share to 0."
        )
    if device is not None:
        require_device(device)
        clip.move_text(device)
    here, start = clip.text_device, starting_contexts(clip, learned)
    text = _text(clip, class_names, params or TrainParams(), likeliest)
    width = template_vectors(clip, class_names[:1], f"{POSITIVE} {{}}.").shape[-1]
    _require_fitting(
        (len(class_names), len(labels) * crops, width),
        student=student,
        teacher=teacher,
        teacher_vectors=teacher_vectors,
        anchors=anchors,
        areas=areas,
    )
    task = Task(
        labels=torch.from_numpy(labels),
        crops=crops,
        features=PairedFeatures(_lookup(student, here), _lookup(teacher, here), here),
        teacher=Teacher(torch.from_numpy(teacher_vectors).float().to(here), teacher_scale),
        text=text,
        scale=clip.logit_scale,
        anchors=None if anchors is None else torch.from_numpy(anchors).float().to(here),
        areas=_whole if areas is None else _lookup(areas, here),
    )
    images = {seed: np.asarray(picked) for seed, picked in chosen.items()}
    names = min(likeliest or len(class_names), len(class_names))
    with threads_for(len(images) * start.numel() * names):
        recalls = likeliest is None and learned.inference.recalls
        refined: Mapping[int, Parts] = {}
        if recalls:  # looked for now, since a full disk is better told before training
            refined = dict(zip(images, refined_images(task, list(images.values())), strict=True))
        trained: Mapping[int, Trained]
        if learned.objective is None:
            trained = dict.fromkeys(images, Trained(start.cpu(), {}, {}, {}, ()))
        else:
            trained = taught or train(
                learned.objective,
                start,
                task,
                params or TrainParams(),
                images,
                report,
                learned.diagnose,
                interim,
            )
        _require_finite(method, trained, params or TrainParams())
        return {
            seed: _knowing(trained[seed], task, refined.get(seed), seed, picked, learned.inference)
            for seed, picked in images.items()
        }


def _require_fitting(
    sizes: tuple[int, int, int],
    *,
    student: object,
    teacher: object,
    teacher_vectors: Floats,
    anchors: object,
    areas: object,
) -> None:
    """Refuse what does not fit to so many classes and regions, and the student's width."""
    classes, regions, width = sizes
    of_class, of_region = "a row for each class name", "a row for each region, labels x crops"
    require_rows("teacher_vectors", teacher_vectors, (classes, None), of_class)
    require_rows("student", student, (regions, width), f"{of_region}, as wide as its text tower")
    require_rows(
        "teacher",
        teacher,
        (regions, teacher_vectors.shape[1]),
        f"{of_region}, as wide as teacher_vectors",
    )
    if anchors is not None:
        require_rows("anchors", anchors, (classes, width), f"{of_class}, of the student")
    if areas is not None:
        require_rows("areas", areas, (regions,), of_region, unit=False)


def _require_finite(method: str, runs: Mapping[int, Trained], params: TrainParams) -> None:
    """Refuse what diverged; looked for once at the end, since no step shall wait for the answer."""
    for seed, one in runs.items():
        finite = [
            all(map(math.isfinite, losses)) for losses in zip(*one.terms.values(), strict=True)
        ]
        if all(finite) and bool(torch.isfinite(one.contexts).all()):
            continue
        epoch = finite.index(False) if not all(finite) else len(finite) - 1
        raise UserError(
            f"method {method!r}, seed {seed}: the training diverged in epoch {epoch + 1} of "
            f"{params.epochs}. Lower train.lr ({params.lr:g}) or train.warmup_lr "
            f"({params.warmup_lr:g})."
        )


def _knowing(
    trained: Trained,
    task: Task,
    refined: Parts | None,
    seed: int,
    images: Ints,
    inference: Inference,
) -> Trained:
    """Return what a seed learned together with what follows from its regions in closed form.

    Nothing follows without what the teacher makes of the images, `refined`.
    """
    memory = bridge = tried = None
    if refined is not None and inference.memory_share:
        weighed = replace(task, areas=None) if inference.gda else task
        memory = remembered(weighed, refined, images)
    if refined is not None and inference.bridge_share:
        share = inference.bridge_share
        bridge, tried = bridged(task, refined, images, seed=seed, share=share)
    return replace(trained, memory=memory, bridge=bridge, held_out=tried)


def _text(
    clip: ClipModel, class_names: Sequence[str], params: TrainParams, likeliest: int | None
) -> TextEncoder | LikeliestText:
    if likeliest is None or likeliest >= len(class_names):
        return text_encoder(clip, class_names, params)
    tokens = tokenize_prompts(clip, POSITIVE, tuple(class_names))
    return LikeliestText(
        likeliest,
        lambda chosen: prompted_text(
            clip.text_tower, tokens.of(chosen), params.precision, params.memory_mb
        ),
    )


def _lookup(values: Floats | Lookup, device: torch.device) -> Lookup:
    if isinstance(values, np.ndarray):
        return CachedColumn(resident(torch.from_numpy(values), device))
    return values


def _whole(rows: Tensor) -> Tensor:
    """Return that regions show the whole of their images."""
    return torch.ones(rows.shape)
