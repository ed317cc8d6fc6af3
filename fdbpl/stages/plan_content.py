"""What of a plan's regions decides what is learned from them."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdbpl.methods.features import Lookup
from fdbpl.regions.plan import Plan

REGIONS_AT_ONCE = 1 << 20  # of which boxes are read at a time
IMAGE, REGION = ("hash", "label", "width", "height"), ("box", "flip")  # what of them decides

Floats = NDArray[np.floating[Any]]


def shown_by(plan: Plan, images: Sequence[int] | NDArray[np.integer[Any]]) -> str:
    """Return a digest of images (I,) of a plan and their regions: content, labels, boxes."""
    shown = hashlib.sha256()
    for part in np.array_split(images, 1 + len(plan.regions) // REGIONS_AT_ONCE):
        rows = (part[:, None] * plan.crops + np.arange(plan.crops)).ravel()
        for records, fields in ((plan.images[part], IMAGE), (plan.regions[rows], REGION)):
            for field in fields:
                shown.update(np.ascontiguousarray(records[field]).tobytes())
    return shown.hexdigest()


def areas_of(plan: Plan, *, held: bool) -> Floats | Lookup:
    """Return the share of its image that each region shows; in memory where features are, too."""
    if not held:
        return lambda rows: torch.from_numpy(plan.areas(rows.numpy()))
    count = len(plan.regions)
    bounds = [*range(0, count, REGIONS_AT_ONCE), count]
    return np.concatenate([plan.areas(np.arange(*part)) for part in pairwise(bounds)])
