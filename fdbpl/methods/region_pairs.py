"""Regions as both models see them, read by parts so that what is held at a time is bounded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.classify.moments import Pairs
from fdbpl.methods.features import FeatureSource, Lookup, in_order

REGIONS_AT_ONCE = 10240  # of which features and probabilities are held at any time
PARTS_AHEAD = 64  # that a source is told of at a time: all regions' rows would be 8 bytes each

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class RegionPairs:
    """Regions of images; region `image * crops + k` is crop k of an image.

    Attributes:
        features: where regions' features come from.
        crops: regions of each image.
        areas: rows (...) of regions to the share (...) of its image that each shows; None counts
            all alike.
    """

    features: FeatureSource
    crops: int
    areas: Lookup | None = None

    def read(self, images: Tensor) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
        """Yield the rows (n, crops) of images' regions and both models' features of them.

        What a part holds is bounded, and so is what is told of the parts to come.
        """
        parts = torch.split(images, max(1, REGIONS_AT_ONCE // self.crops))
        for start in range(0, len(parts), PARTS_AHEAD):
            some = parts[start : start + PARTS_AHEAD]
            rows = [part[:, None] * self.crops + torch.arange(self.crops) for part in some]
            yield from zip(rows, in_order(self.features, rows), strict=True)

    def weighted(self, images: Ints) -> Iterator[Pairs]:
        """Yield both models' features of images' regions and their weights, by parts.

        A weight is the share of its image that a region shows.
        """
        for regions, (student, teacher) in self.read(torch.from_numpy(np.asarray(images))):
            rows = regions.flatten()
            weights = torch.ones(len(rows)) if self.areas is None else self.areas(rows)
            flat = student.flatten(0, 1), teacher.flatten(0, 1)
            yield flat[0].cpu().numpy(), flat[1].cpu().numpy(), weights.cpu().numpy()


@dataclass(frozen=True)
class SourceRegions:
    """All cached regions of another dataset, the source of a transfer: no class is known of them.

    Attributes:
        open: returns them, as the models of the training see them, and the images (I,) they are of.
        digest: of all that decides the features, and which regions there are.
    """

    open: Callable[[], tuple[RegionPairs, Ints]]
    digest: str
