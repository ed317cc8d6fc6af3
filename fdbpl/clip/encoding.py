"""Encoding images: pixels of a region in, one L2-normalised feature out."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection, without_projection
from fdbpl.regions.boxes import Box

Floats = NDArray[np.float32]

_TEST_VIEWS = {"shortest": "resize shorter side, centre crop", "squash": "resize"}
_CHANNELS_LAST = torch.channels_last
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ImageEncoder:
    """The frozen image tower of a CLIP model, run in batches of one constant shape.

    A short batch is padded, because kernels may change with the batch's shape: a feature then
    never depends on its neighbours.

    Args:
        clip: whose image tower it is.
        precision: "fp32", "bf16" or "fp16" of its products.
        batch_size: images of every batch.
        device: where it runs.
        before_projection: leave its last projection out: the features are of another space, and
            of another width E.

    Raises:
        UserError: this tower's last projection cannot be left out.
    """

    def __init__(
        self,
        clip: ClipModel,
        *,
        precision: str,
        batch_size: int,
        device: str = "cpu",
        before_projection: bool = False,
    ):
        self.clip = clip
        self.batch_size = batch_size
        self._width = last_projection(clip).shape[0] if before_projection else None
        self._device = torch.device(device)
        self._autocast = _AUTOCAST.get(precision)
        tower = clip.network.get_submodule("visual").to(self._device)
        self._format = _memory_format(tower)
        self._tower = tower.to(memory_format=self._format)
        self._square = (clip.image_size, clip.image_size)
        self._interpolation = Image.Resampling[clip.interpolation.upper()]
        mean, std = (np.array(x, np.float32).reshape(3, 1, 1) for x in (clip.mean, clip.std))
        self._shift, self._factor = -mean / std, np.float32(1 / 255) / std
        self.fingerprint: Mapping[str, object] = {  # all that decides a feature beside the region
            **clip.identity,
            "image_size": clip.image_size,
            "mean": list(clip.mean),
            "std": list(clip.std),
            "interpolation": clip.interpolation,
            "region_view": "crop, resize, flip",
            "test_view": _TEST_VIEWS[clip.resize_mode],
            "precision": precision,
            "numerics": _numerics_class(self._device, batch_size),
            **({"output": "before projection"} if before_projection else {}),
            **({"memory_format": "channels_last"} if self._format == _CHANNELS_LAST else {}),
        }

    @cached_property
    def dim(self) -> int:
        """Width of a feature."""
        if self._width is not None:
            return self._width
        size = self.clip.image_size
        with torch.inference_mode():  # of one image: a whole batch would take long
            return int(self._tower(torch.zeros(1, 3, size, size, device=self._device)).shape[1])

    def pixels(self, image: Image.Image, box: Box | None, flip: bool = False) -> Floats:
        """Cut a region out of a decoded RGB image and normalise it.

        Args:
            image: the whole decoded image.
            box: (left, top, right, bottom) in pixels; None for the test view.
            flip: mirror left and right.

        Returns:
            float32 (3, S, S).
        """
        if box is None:
            view = self._whole(image)
        else:
            view = image.crop(box).resize(self._square, self._interpolation)
        if flip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        channels = np.asarray(view, np.uint8).transpose(2, 0, 1)
        return np.ascontiguousarray(channels * self._factor + self._shift, np.float32)

    def _whole(self, image: Image.Image) -> Image.Image:
        if self.clip.resize_mode == "squash":
            return image.resize(self._square, self._interpolation)
        return centre_view(image, self.clip.image_size, self._interpolation)

    def encode(self, pixels: Floats) -> Floats:
        """Encode (n, 3, S, S) normalised pixels, n <= batch_size, to (n, D) unit features."""
        count = len(pixels)
        batch = np.zeros((self.batch_size, *pixels.shape[1:]), np.float32)
        batch[:count] = pixels
        images = torch.from_numpy(batch).to(self._device, memory_format=self._format)
        with (
            nullcontext() if self._width is None else without_projection(self.clip),
            torch.inference_mode(),
            torch.autocast(
                self._device.type, dtype=self._autocast, enabled=self._autocast is not None
            ),
        ):
            features = self._tower(images)
        features = torch.nn.functional.normalize(features[:count].float(), dim=-1)
        return features.cpu().numpy()


def centre_view(
    image: Image.Image, size: int, interpolation: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Resize the shorter side to `size` and cut the centre square, as the field tests."""
    width, height = image.size
    short = min(width, height)
    scaled = (int(size * width / short), int(size * height / short))
    left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
    return image.resize(scaled, interpolation).crop((left, top, left + size, top + size))


def _memory_format(tower: torch.nn.Module) -> torch.memory_format:
    """Return how images lie in memory: depthwise convolutions run twice as fast channels-last."""
    depthwise = (
        isinstance(one, torch.nn.Conv2d) and 1 < one.groups == one.in_channels
        for one in tower.modules()
    )
    return _CHANNELS_LAST if any(depthwise) else torch.contiguous_format


def _numerics_class(device: torch.device, batch_size: int) -> str:
    if device.type == "cuda":
        kind = torch.cuda.get_device_name(device)
    else:
        kind = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    torch_minor = ".".join(torch.__version__.split(".")[:2])
    return f"{kind}, batch {batch_size}, torch {torch_minor}"
