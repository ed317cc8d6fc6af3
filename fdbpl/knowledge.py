"""What must be known of the training cache as a whole before a method can learn from parts."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.discriminant import Part, discriminant
from fdbpl.methods.batch import Extra
from fdbpl.methods.terms import informativeness
from fdbpl.refinement import image_knowledge, refined_log_probabilities
from fdbpl.training import Task

IMAGES_AT_ONCE = 1024  # what is held of single regions at any time

Ints = NDArray[np.integer[Any]]


def with_knowledge(task: Task, needs: Set[Extra], picks: Sequence[Sequence[int] | Ints]) -> Task:
    """Return the task with what `needs` names: `levels`, `refined`.

    Args:
        task: its features are read once for every image of the picks.
        needs: of the method.
        picks: the images (I,) of every seed, equally many.
    """
    images = np.unique(np.concatenate([np.asarray(one) for one in picks]))
    means, verdicts, levels = _look(task, torch.from_numpy(images))
    places = [torch.from_numpy(np.searchsorted(images, np.asarray(pick))) for pick in picks]
    of_seeds = torch.stack([levels[rows].flatten() for rows in places])  # no seed knows another's
    known = replace(task, levels=of_seeds.sort(dim=-1).values)
    if "refined" not in needs:
        return known
    refined = torch.zeros(len(picks), len(task.labels), verdicts.shape[-1])
    for run, rows in enumerate(places):
        refined[run, torch.from_numpy(images)[rows]] = refined_log_probabilities(
            means[rows], verdicts[rows]
        )
    return replace(known, refined=refined)


def _look(task: Task, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean features (I, E), verdicts (I, C) and informativeness (I, crops)."""
    means, verdicts, levels = [], [], []
    for part in torch.split(images, IMAGES_AT_ONCE):
        _, features = task.features(part[:, None] * task.crops + torch.arange(task.crops))
        log_p = task.teacher.log_probabilities(features)
        mean, verdict = image_knowledge(features, log_p)
        means.append(mean)
        verdicts.append(verdict)
        levels.append(informativeness(log_p))
    return torch.cat(means), torch.cat(verdicts), torch.cat(levels)


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
    for part in torch.split(torch.from_numpy(images), IMAGES_AT_ONCE):
        rows = (part[:, None] * task.crops + torch.arange(task.crops)).flatten()
        student, _ = task.features(rows)
        classes = task.refined[run, part].exp().repeat_interleave(task.crops, dim=0)
        weights = torch.ones(len(rows)) if task.areas is None else task.areas[rows]
        yield student.cpu().numpy(), classes.cpu().numpy(), weights.cpu().numpy()
