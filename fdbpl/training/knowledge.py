"""What must be known of the training cache as a whole before a method can learn from parts."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.methods.batch import Extra
from fdbpl.methods.bridge import HeldOut, Pairs, held_out
from fdbpl.methods.discriminant import discriminant
from fdbpl.methods.terms import informativeness
from fdbpl.training.features import in_order
from fdbpl.training.loop import Task
from fdbpl.training.refinement import image_knowledge, refined_log_probabilities
from fdbpl.training.scratch import ChosenRows, ScratchRows

REGIONS_AT_ONCE = 10240  # of which features and probabilities are held at any time
PARTS_AHEAD = 64  # that a source is told of at a time: all regions' rows would be 8 bytes each

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


def with_knowledge(task: Task, needs: Set[Extra], picks: Sequence[Sequence[int] | Ints]) -> Task:
    """Return the task with what `needs` names: `levels`, `refined`.

    Args:
        task: its features are read once for every image of the picks.
        needs: of the method.
        picks: the images (I,) of every seed, equally many.

    Raises:
        UserError: there is no room for what stands in files for temporary use.
    """
    images = np.unique(np.concatenate([np.asarray(one) for one in picks]))
    places = [np.searchsorted(images, np.asarray(pick)) for pick in picks]
    means, verdicts, levels = _look(task, torch.from_numpy(images), needs)
    if "levels" in needs:
        task = replace(task, levels=_of_seeds(levels, places).to(task.device))
    if "refined" in needs:
        task = replace(task, refined=_refined(means, verdicts, images, places, len(task.labels)))
    return task


def _look(
    task: Task, images: Tensor, needs: Set[Extra]
) -> tuple[ScratchRows, ScratchRows, NDArray[np.float32]]:
    """Return what `needs` asks: mean features (I, E), verdicts (I, C), informativeness (I, crops).

    A function of its own, so that no features are held beyond it.
    """
    classes, width = task.teacher.vectors.shape
    means, verdicts = ScratchRows(width), ScratchRows(classes)
    levels = np.empty((len(images) if "levels" in needs else 0, task.crops), np.float32)
    done = 0
    for part, _, (_, features) in _read(task, images):
        log_p = task.teacher.log_probabilities(features)
        if "levels" in needs:
            levels[done : done + len(part)] = informativeness(log_p).cpu()
        if "refined" in needs:
            mean, verdict = image_knowledge(features, log_p)
            means.append(mean)
            verdicts.append(verdict)
        done += len(part)
    return means, verdicts, levels


def _of_seeds(levels: NDArray[np.float32], places: Sequence[Ints]) -> Tensor:
    """Return (S, I * crops) of (I, crops), ascending: no seed knows of another's images."""
    found = np.empty((len(places), len(places[0]) * levels.shape[1]), np.float32)
    for run, rows in enumerate(places):
        np.take(levels, rows, axis=0, out=found[run].reshape(len(rows), -1), mode="clip")
        found[run].sort()
    return torch.from_numpy(found)


def _refined(
    means: ScratchRows, verdicts: ScratchRows, images: Ints, places: Sequence[Ints], count: int
) -> ChosenRows:
    """Return (S, N, C), zero for the images that a seed has not picked."""
    refined = ScratchRows(verdicts.width)
    refined.append(torch.zeros(1, verdicts.width))  # row 0 is that of images not picked
    index = np.zeros((len(places), count), np.int64)
    for run, rows in enumerate(places):
        index[run, images[rows]] = len(refined) + np.arange(len(rows))
        for part in refined_log_probabilities(means.at(rows), verdicts.at(rows)):
            refined.append(part)
    return refined.at(index)


def _read(task: Task, images: Tensor) -> Iterator[tuple[Tensor, Tensor, tuple[Tensor, Tensor]]]:
    """Yield images (n,), the rows (n, crops) of their regions and both models' features of them.

    What a part holds is bounded, and so is what is told of the parts to come.
    """
    parts = torch.split(images, max(1, REGIONS_AT_ONCE // task.crops))
    for start in range(0, len(parts), PARTS_AHEAD):
        some = parts[start : start + PARTS_AHEAD]
        rows = [part[:, None] * task.crops + torch.arange(task.crops) for part in some]
        yield from zip(some, rows, in_order(task.features, rows), strict=True)


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
    """
    if task.anchors is None:
        raise ValueError("a bridge needs the task's `anchors`")

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
    for part, regions, (student, teacher) in _read(task, torch.from_numpy(images)):
        rows = regions.flatten()
        refined = task.refined[run, part.numpy()]
        classes = refined.exp().repeat_interleave(task.crops, dim=0)
        weights = torch.ones(len(rows)) if task.areas is None else task.areas(rows)
        flat = student.flatten(0, 1), teacher.flatten(0, 1)
        pairs = flat[0].cpu().numpy(), flat[1].cpu().numpy(), weights.cpu().numpy()
        yield pairs, classes.cpu().numpy()
