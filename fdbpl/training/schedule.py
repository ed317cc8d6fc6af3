"""What the optimiser sees when: learning rates and the order of regions, as pure functions."""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.methods.params import TrainParams

IMAGES_AT_ONCE = 1 << 14

Ints = NDArray[np.integer[Any]]


def learning_rate(params: TrainParams, epoch: int) -> float:
    """Return the rate of an epoch (from 0): one warm-up epoch, then a cosine over all epochs.

    As CoOp's trainer has it: the cosine's own clock starts after the warm-up.
    """
    if epoch == 0:
        return params.warmup_lr
    return params.lr * (1 + math.cos(math.pi * (epoch - 1) / params.epochs)) / 2


def epoch_batches(
    images: Ints, *, crops: int, batch: int, epoch: int, seed: int
) -> Iterator[tuple[Ints, Ints]]:
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
    rows = images * crops + _crops_shown(count, crops, epoch, seed)
    order = np.random.default_rng([seed, 0, epoch]).permutation(count)
    size = min(batch, count)
    for start in range(0, count - size + 1, size):
        chosen = order[start : start + size]
        yield images[chosen], rows[chosen]


def epoch_steps(
    picks: Mapping[int, Ints], *, crops: int, batch: int, epoch: int, start: int = 0
) -> list[tuple[Ints, Ints]]:
    """Return the batches of one epoch for all seeds: images and rows of regions, both (S, batch).

    The seeds' numbers and these arguments decide all: whoever stopped in some epoch before some
    step goes on with `start` at that step, as if nobody had stopped.

    Args:
        picks: for each seed the images to learn from, equally many.
        crops: regions of each image.
        batch: regions a batch.
        epoch: from 0.
        start: steps of this epoch that are done already.
    """
    orders = [
        epoch_batches(images, crops=crops, batch=batch, epoch=epoch, seed=seed)
        for seed, images in picks.items()
    ]
    steps = islice(zip(*orders, strict=True), start, None)
    return [
        (np.stack([images for images, _ in step]), np.stack([rows for _, rows in step]))
        for step in steps
    ]


def _crops_shown(count: int, crops: int, epoch: int, seed: int) -> Ints:
    """Return which crop (count,) each image shows: the epoch's place in the image's own cycle."""
    generator = np.random.default_rng([seed, 1, epoch // crops])
    shown = np.empty(count, np.int64)
    for start in range(0, count, IMAGES_AT_ONCE):  # the cycles of all images need not be held
        part = shown[start : start + IMAGES_AT_ONCE]
        cycles = generator.permuted(np.tile(np.arange(crops), (len(part), 1)), axis=1)
        part[:] = cycles[:, epoch % crops]
    return shown
