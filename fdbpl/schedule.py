"""What the optimiser sees when: learning rates and the order of regions, as pure functions."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.params import TrainParams


def learning_rate(params: TrainParams, epoch: int) -> float:
    """Return the rate of an epoch (from 0): one warm-up epoch, then a cosine over all epochs.

    As CoOp's trainer has it: the cosine's own clock starts after the warm-up.
    """
    if epoch == 0:
        return params.warmup_lr
    return params.lr * (1 + math.cos(math.pi * (epoch - 1) / params.epochs)) / 2


def epoch_batches(
    images: NDArray[np.integer[Any]], *, crops: int, batch: int, epoch: int, seed: int
) -> Iterator[tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]]:
    """Yield the batches of one epoch: each image once, by the crop that this epoch brings it.

    Every image goes through its own shuffled cycle of crops, so `crops` epochs show all of them.
    A last batch that would be short is dropped, unless it is the only one.

    Args:
        images: rows of the images to learn from.
        crops: regions of each image; region `image * crops + k` is crop k of an image.
        batch: regions a batch.
        epoch: from 0.
        seed: of training.

    Yields:
        The images, and the rows of their regions, both (batch,).
    """
    count = len(images)
    cycle = np.random.default_rng([seed, 1, epoch // crops]).permuted(
        np.tile(np.arange(crops), (count, 1)), axis=1
    )
    rows = images * crops + cycle[:, epoch % crops]
    order = np.random.default_rng([seed, 0, epoch]).permutation(count)
    size = min(batch, count)
    for start in range(0, count - size + 1, size):
        chosen = order[start : start + size]
        yield images[chosen], rows[chosen]
