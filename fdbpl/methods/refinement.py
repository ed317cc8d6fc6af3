"""What the teacher knows of an image beyond single regions: all its regions, and images like it.

A random region often shows too little for the teacher to name it. Its image's other regions, and
the images that look like it to the teacher, say more: class prototypes are fitted to the
teacher's features of the images themselves, beginning with what the teacher reads from the names,
and give each image one refined distribution over the classes. No label is read.
"""

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fdbpl.methods.scratch import Parts
from fdbpl.methods.terms import informativeness

SHARPNESS = 5.0  # of the prototypes' logits: the best of 5, 8, 10, 20 and 40 on development sets
ROUNDS = 10
IMAGES_AT_ONCE = 1 << 14  # of which features and probabilities are held at any time


def image_knowledge(features: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's unit mean feature (I, E) and its regions' joint verdict (I, C).

    The verdict is the softmax of the regions' log-probabilities, averaged by informativeness.

    Args:
        features: (I, R, E) the teacher's unit features of R regions of every image.
        log_p: (I, R, C) its log-probabilities over the classes.
    """
    w = informativeness(log_p)[..., None]
    joint = (w * log_p).sum(-2) / w.sum(-2).clamp_min(1e-12)
    return F.normalize(features.mean(-2), dim=-1), joint.log_softmax(-1)


def refined_log_probabilities(images: Parts, verdicts: Parts) -> Iterator[Tensor]:
    """Yield the refined log-probabilities of images, part by part (n, C) of (I, C).

    In each round a class's prototype is the direction of the images' features, taken from their
    mean, by the probabilities so far; an image's new logits are its verdict plus SHARPNESS times
    the cosines with the prototypes.

    Args:
        images: (I, E) unit features; the rounds read them part by part.
        verdicts: (I, C) log-probabilities from the names, read likewise.
    """
    starts = range(0, len(images), IMAGES_AT_ONCE)
    parts = [slice(start, start + IMAGES_AT_ONCE) for start in starts]
    middle = torch.stack([images[part].sum(0) for part in parts]).sum(0) / len(images)

    @lru_cache(maxsize=1)  # the only part, where one is all
    def centred(number: int) -> Tensor:
        return F.normalize(images[parts[number]] - middle, dim=-1)

    def log_p(number: int) -> Tensor:
        verdict = verdicts[parts[number]]
        if prototypes is None:
            return verdict
        return (verdict + SHARPNESS * centred(number) @ prototypes.T).log_softmax(-1)

    prototypes: Tensor | None = None
    for _ in range(ROUNDS):
        sums = [log_p(number).exp().T @ centred(number) for number in range(len(parts))]
        prototypes = F.normalize(torch.stack(sums).sum(0), dim=-1)
    for number in range(len(parts)):
        yield log_p(number)
