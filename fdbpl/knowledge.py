"""What must be known of the training cache as a whole before a method can learn from parts."""

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.features import in_order
from fdbpl.methods.batch import Extra
from fdbpl.methods.terms import informativeness
from fdbpl.refinement import image_knowledge, refined_log_probabilities
from fdbpl.training import Task

REGIONS_AT_ONCE = 10240  # of which features and probabilities are held at any time

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
    at_once = max(1, REGIONS_AT_ONCE // task.crops)
    steps = [
        part[:, None] * task.crops + torch.arange(task.crops)
        for part in torch.split(images, at_once)
    ]
    for _, features in in_order(task.features, steps):
        log_p = task.teacher.log_probabilities(features)
        mean, verdict = image_knowledge(features, log_p)
        means.append(mean)
        verdicts.append(verdict)
        levels.append(informativeness(log_p))
    return torch.cat(means), torch.cat(verdicts), torch.cat(levels)
