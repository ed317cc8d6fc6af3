"""What must be known of the training cache as a whole before a method can learn from parts."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.discriminant import Part, discriminant
from fdbpl.features import in_order
from fdbpl.methods.batch import Extra
from fdbpl.methods.terms import informativeness
from fdbpl.refinement import image_knowledge, refined_log_probabilities
from fdbpl.scratch import ChosenRows, ScratchRows
from fdbpl.training import Task

REGIONS_AT_ONCE = 10240  # of which features and probabilities are held at any time
PARTS_AHEAD = 64  # that a source is told of at a time: all regions' rows would be 8 bytes each

Ints = NDArray[np.integer[Any]]


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
    classes, width = task.teacher.vectors.shape
    means, verdicts = ScratchRows(width), ScratchRows(classes)
    levels = np.empty((len(images) if "levels" in needs else 0, task.crops), np.float32)
    done = 0
    for part, _, (_, features) in _read(task, torch.from_numpy(images)):
        log_p = task.teacher.log_probabilities(features)
        if "levels" in needs:
            levels[done : done + len(part)] = informativeness(log_p)
        if "refined" in needs:
            mean, verdict = image_knowledge(features, log_p)
            means.append(mean)
            verdicts.append(verdict)
        done += len(part)
    if "levels" in needs:
        task = replace(task, levels=_of_seeds(levels, places))
    if "refined" in needs:
        task = replace(task, refined=_refined(means, verdicts, images, places, len(task.labels)))
    return task


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
    return discriminant(_samples(task, run, images)).astype(np.float32)


def _samples(task: Task, run: int, images: Ints) -> Iterator[Part]:
    """Yield features, classes and weights of the images' regions, part by part."""
    if task.refined is None:
        raise ValueError("a memory needs the task's `refined`")
    for part, regions, (student, _) in _read(task, torch.from_numpy(images)):
        rows = regions.flatten()
        refined = task.refined[run, part.numpy()]
        classes = refined.exp().repeat_interleave(task.crops, dim=0)
        weights = torch.ones(len(rows)) if task.areas is None else task.areas(rows)
        yield student.flatten(0, 1).cpu().numpy(), classes.cpu().numpy(), weights.cpu().numpy()
