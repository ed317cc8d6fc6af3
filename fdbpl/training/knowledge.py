"""What follows from the training cache as a whole: a memory and a bridge."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.methods.bridge import HeldOut, Pairs, held_out
from fdbpl.methods.discriminant import discriminant
from fdbpl.training.features import in_order
from fdbpl.training.loop import Task
from fdbpl.training.refinement import image_knowledge, refined_log_probabilities
from fdbpl.training.scratch import Parts, ScratchRows

REGIONS_AT_ONCE = 10240  # of which features and probabilities are held at any time
PARTS_AHEAD = 64  # that a source is told of at a time: all regions' rows would be 8 bytes each

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


def refined_images(task: Task, picks: Sequence[Ints]) -> list[ScratchRows]:
    """Return for every seed what the teacher makes of its images, log-probabilities (I, C).

    No seed knows of another's images. See `fdbpl.training.refinement`.

    Args:
        task: its features are read once for every image of the picks.
        picks: the images (I,) of every seed, whose order the rows follow.

    Raises:
        UserError: there is no room for what stands in files for temporary use.
    """
    images = np.unique(np.concatenate(picks))
    means, verdicts = _look(task, torch.from_numpy(images))
    found = []
    for pick in picks:
        places, refined = np.searchsorted(images, pick), ScratchRows(verdicts.width)
        for part in refined_log_probabilities(means.at(places), verdicts.at(places)):
            refined.append(part)
        found.append(refined)
    return found


def _look(task: Task, images: Tensor) -> tuple[ScratchRows, ScratchRows]:
    """Return the images' mean features (I, E) and verdicts (I, C).

    A function of its own, so that no features are held beyond it.
    """
    classes, width = task.teacher.vectors.shape
    means, verdicts = ScratchRows(width), ScratchRows(classes)
    for _, (_, features) in _read(task, images):
        mean, verdict = image_knowledge(features, task.teacher.log_probabilities(features))
        means.append(mean)
        verdicts.append(verdict)
    return means, verdicts


def _read(task: Task, images: Tensor) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Yield the rows (n, crops) of images' regions and both models' features of them.

    What a part holds is bounded, and so is what is told of the parts to come.
    """
    parts = torch.split(images, max(1, REGIONS_AT_ONCE // task.crops))
    for start in range(0, len(parts), PARTS_AHEAD):
        some = parts[start : start + PARTS_AHEAD]
        rows = [part[:, None] * task.crops + torch.arange(task.crops) for part in some]
        yield from zip(rows, in_order(task.features, rows), strict=True)


def remembered(task: Task, refined: Parts, images: Ints) -> NDArray[np.float32]:
    """Return the discriminant (C, D + 1) of the student's features that one seed remembers.

    Every region counts with the share of its image that it shows, and belongs to the classes as
    the teacher, by all it knows of the images, says its image does. No label is read.

    Args:
        task: its features are read once.
        refined: (I, C) of the images, as `refined_images` gives them.
        images: (I,) that the seed learns from.
    """
    parts = _samples(task, refined, images)
    return discriminant((x, classes, weights) for (x, _, weights), classes in parts).astype(
        np.float32
    )


def bridged(
    task: Task, refined: Parts, images: Ints, *, seed: int, share: float
) -> tuple[NDArray[np.float32] | None, tuple[float, float]]:
    """Return the bridge (D, 1 + D + E) of one seed's regions, and how it did on held-out classes.

    There is none where it did no better than the student's own class vectors. Weights and classes
    are those of `remembered`, an image's class being its likeliest. No label is read.

    Args:
        task: with `anchors`; its features are read twice.
        refined: (I, C) of the images, as `refined_images` gives them.
        images: (I,) that the seed learns from.
        seed: of the halves in which classes are held out.
        share: of the bridge beside the student's own class vectors.
    """
    if task.anchors is None:
        raise ValueError("a bridge needs the task's `anchors`")

    def regions() -> Iterator[tuple[Pairs, Ints]]:
        for pairs, classes in _samples(task, refined, images):
            yield pairs, classes.argmax(axis=1)

    anchors, vectors = task.anchors.cpu().numpy(), task.teacher.vectors.cpu().numpy()
    known = HeldOut(len(vectors), seed)
    for pairs, told in regions():
        known.add(pairs, told)
    without, with_bridge = held_out(known, regions(), anchors, vectors, share)
    if with_bridge <= without:
        return None, (without, with_bridge)
    return known.whole().bridge().astype(np.float32), (without, with_bridge)


def _samples(task: Task, refined: Parts, images: Ints) -> Iterator[tuple[Pairs, Floats]]:
    """Yield features and weights of the images' regions, and their classes, part by part."""
    done = 0
    for regions, (student, teacher) in _read(task, torch.from_numpy(images)):
        rows = regions.flatten()
        classes = refined[done : done + len(regions)].exp().repeat_interleave(task.crops, dim=0)
        done += len(regions)
        weights = torch.ones(len(rows)) if task.areas is None else task.areas(rows)
        flat = student.flatten(0, 1), teacher.flatten(0, 1)
        pairs = flat[0].cpu().numpy(), flat[1].cpu().numpy(), weights.cpu().numpy()
        yield pairs, classes.cpu().numpy()
