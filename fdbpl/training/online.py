"""Features encoded anew at every step, the field's plain way: the baseline of the cached one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.clip.encoding import ImageEncoder
from fdbpl.data.images import decode
from fdbpl.regions.plan import Plan


class OnlineTower:
    """One model's image tower over a plan's regions, as KDPL runs it at every step.

    The regions are those of the plan, so that what differs from a cache is the time it takes.

    Args:
        plan: whose training regions are asked for.
        folder: holds the plan's images.
        encoder: of the model.
    """

    def __init__(self, plan: Plan, folder: Path, encoder: ImageEncoder):
        self._plan, self._folder, self._encoder = plan, folder, encoder

    def __call__(self, rows: Tensor) -> Tensor:
        """Decode, crop and encode regions: rows (...) of the plan's regions to (..., D).

        Raises:
            UserError: an image is missing, does not decode, or is not the planned one.
        """
        features = np.concatenate(list(self._encoded(self._plan.regions[rows.flatten().numpy()])))
        return torch.from_numpy(features).view(*rows.shape, -1)

    def _encoded(self, regions: NDArray[np.void]) -> Iterator[np.ndarray]:
        size = self._encoder.batch_size
        for start in range(0, len(regions), size):
            pixels = [self._pixels(region) for region in regions[start : start + size]]
            yield self._encoder.encode(np.stack(pixels))

    def _pixels(self, region: np.void) -> np.ndarray:
        place = int(region["image"])
        content = self._plan.images["hash"][place].tobytes()
        image = decode(self._folder / self._plan.paths[place], content)
        left, top, right, bottom = region["box"].tolist()
        return self._encoder.pixels(image, (left, top, right, bottom), bool(region["flip"]))
