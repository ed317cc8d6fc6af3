"""What the teacher knows of an image beyond single regions: all its regions, and images like it.

A random region often shows too little for the teacher to name it. Its image's other regions, and
the images that look like it to the teacher, say more: class prototypes are fitted to the
teacher's features of the images themselves, beginning with what the teacher reads from the names,
and give each image one refined distribution over the classes. No label is read.
"""

import torch.nn.functional as F
from torch import Tensor

from fdbpl.methods.terms import informativeness

SHARPNESS = 5.0  # of the prototypes' logits: the best of 5, 8, 10, 20 and 40 on development sets
ROUNDS = 10


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


def refined_log_probabilities(images: Tensor, verdicts: Tensor) -> Tensor:
    """Return the refined log-probabilities (I, C) of images.

    In each round a class's prototype is the direction of the images' features, taken from their
    mean, by the probabilities so far; an image's new logits are its verdict plus SHARPNESS times
    the cosines with the prototypes.

    Args:
        images: (I, E) unit features.
        verdicts: (I, C) log-probabilities from the names.
    """
    centred = F.normalize(images - images.mean(0), dim=-1)
    log_p = verdicts
    for _ in range(ROUNDS):
        prototypes = F.normalize(log_p.exp().T @ centred, dim=-1)
        log_p = (verdicts + SHARPNESS * centred @ prototypes.T).log_softmax(-1)
    return log_p
