"""The pixels of regions, for methods that prompt the image tower."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.clip.preprocessing import Preprocessing


@dataclass(frozen=True)
class CachedPixels:
    """The pixels of a plan's regions where they lie, read ahead of their use."""

    stream: PixelStream

    def __call__(self, rows: Tensor) -> Tensor:
        """Read the pixels (..., 3, S, S) of the rows (...), in uint8."""
        return torch.from_numpy(self.stream.take(rows.numpy()))

    def in_order(self, steps: Sequence[Tensor]) -> Iterator[Tensor]:
        """Read the pixels of each step's rows."""
        yield from map(torch.from_numpy, self.stream.in_order([rows.numpy() for rows in steps]))


def normalised(pixels: Tensor, how: Preprocessing) -> Tensor:
    """Return what a tower takes of pixels (..., 3, S, S): (x / 255 - mean) / std in float32.

    On a CPU the same bits as `Preprocessing.normalised`, where features are encoded.
    """
    factor, shift = (torch.from_numpy(one).to(pixels.device) for one in how.affine)
    return pixels.float().mul_(factor).add_(shift)
