"""What must be known of the training cache as a whole before a method can learn from parts."""

import tempfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.bridge import HeldOut, Pairs, held_out
from fdbpl.discriminant import discriminant
from fdbpl.errors import UserError
from fdbpl.features import in_order
from fdbpl.methods.batch import Extra
from fdbpl.methods.terms import informativeness
from fdbpl.refinement import image_knowledge, refined_log_probabilities
from fdbpl.scratch import ScratchRows
from fdbpl.training import Task

REGIONS_AT_ONCE = 10240  # of which features and probabilities are held at any time

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


def with_knowledge(task: Task, needs: Set[Extra], picks: Sequence[Sequence[int] | Ints]) -> Task:
    """Return the task with what `needs` names: `levels`, `refined`.

    Args:
        task: its features are read once for every image of the picks.
        needs: of the method.
        picks: the images (I,) of every seed, equally many.
    """
    images = np.unique(np.concatenate([np.asarray(one) for one in picks]))
    places = [np.searchsorted(images, np.asarray(pick)) for pick in picks]
    with tempfile.TemporaryDirectory() as folder:
        means, verdicts, levels = _look(task, torch.from_numpy(images), Path(folder))
        of_seeds = np.stack([levels[rows].ravel() for rows in places])  # no seed knows another's
        of_seeds.sort(axis=-1)
        known = replace(task, levels=torch.from_numpy(of_seeds))
        if "refined" not in needs:
            return known
        refined = torch.zeros(len(picks), len(task.labels), len(task.teacher.vectors))
        for run, rows in enumerate(places):
            refined[run, torch.from_numpy(images)[rows]] = refined_log_probabilities(
                means.at(rows), verdicts.at(rows)
            )
    return replace(known, refined=refined)


def _look(
    task: Task, images: Tensor, folder: Path
) -> tuple[ScratchRows, ScratchRows, NDArray[np.float32]]:
    """Return mean features (I, E), verdicts (I, C) and informativeness (I, crops).

    What is wide stands in files of the folder: of all images it may be more than memory holds.
    """
    classes, width = task.teacher.vectors.shape
    means = ScratchRows(folder / "means", width)
    verdicts = ScratchRows(folder / "verdicts", classes)
    levels = np.empty((len(images), task.crops), np.float32)
    steps = [_regions(part, task.crops) for part in _parts(images, task.crops)]
    done = 0
    for _, features in in_order(task.features, steps):
        log_p = task.teacher.log_probabilities(features)
        mean, verdict = image_knowledge(features, log_p)
        means.append(mean)
        verdicts.append(verdict)
        levels[done : done + len(mean)] = informativeness(log_p)
        done += len(mean)
    return means, verdicts, levels


def _parts(images: Tensor, crops: int) -> Sequence[Tensor]:
    return torch.split(images, max(1, REGIONS_AT_ONCE // crops))


def _regions(images: Tensor, crops: int) -> Tensor:
    """Return the rows (I, crops) of all regions of images (I,)."""
    return images[:, None] * crops + torch.arange(crops)


def remembered(task: Task, run: int, images: Ints) -> NDArray[np.float32]:
    """Return the discriminant (C, D + 1) of the student's features that one seed remembers.

    Every region counts with the share of its image that it shows, and belongs to the classes as
    the teacher, by all it knows of the images (`refined`), says its image does. No label is read.

    Args:
        task: with `refined`; its features are read once.
        run: the seed's place among the seeds.
        images: (I,) that the seed learns from.
    """
    parts = _samples(task, run, images)
    return discriminant((x, classes, weights) for (x, _, weights), classes in parts).astype(
        np.float32
    )


def bridged(
    task: Task, run: int, images: Ints, *, seed: int, share: float
) -> tuple[NDArray[np.float32] | None, tuple[float, float]]:
    """Return the bridge (D, 1 + D + E) of one seed's regions, and how it did on held-out classes.

    There is none where it did no better than the student's own class vectors. Weights and classes
    are those of `remembered`, an image's class being its likeliest. No label is read.

    Args:
        task: with `refined` and `anchors`; its features are read twice.
        run: the seed's place among the seeds.
        images: (I,) that the seed learns from.
        seed: of the halves in which classes are held out.
        share: of the bridge beside the student's own class vectors.

    Raises:
        UserError: the task has no `anchors`.
    """
    if task.anchors is None:
        raise UserError(
            "this method builds a bridge and needs anchors, and none were given. Pass "
            "learn(anchors=...), or set its bridge_share to 0."
        )

    def regions() -> Iterator[tuple[Pairs, Ints]]:
        for pairs, classes in _samples(task, run, images):
            yield pairs, classes.argmax(axis=1)

    anchors, vectors = task.anchors.cpu().numpy(), task.teacher.vectors.cpu().numpy()
    known = HeldOut(len(vectors), seed)
    for pairs, told in regions():
        known.add(pairs, told)
    without, with_bridge = held_out(known, regions(), anchors, vectors, share)
    if with_bridge <= without:
        return None, (without, with_bridge)
    return known.whole().bridge().astype(np.float32), (without, with_bridge)


def _samples(task: Task, run: int, images: Ints) -> Iterator[tuple[Pairs, Floats]]:
    """Yield features and weights of the images' regions, and their classes, part by part."""
    if task.refined is None:
        raise ValueError("a memory and a bridge need the task's `refined`")
    parts = _parts(torch.from_numpy(images), task.crops)
    steps = [_regions(part, task.crops).flatten() for part in parts]
    found = in_order(task.features, steps)
    for part, rows, (student, teacher) in zip(parts, steps, found, strict=True):
        classes = task.refined[run, part].exp().repeat_interleave(task.crops, dim=0)
        weights = torch.ones(len(rows)) if task.areas is None else task.areas[rows]
        pairs = student.cpu().numpy(), teacher.cpu().numpy(), weights.cpu().numpy()
        yield pairs, classes.cpu().numpy()
