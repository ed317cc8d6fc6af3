"""From a decoded image to a tower's input, without torch: what weights expect travels with them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdbpl.regions.boxes import Box

Floats = NDArray[np.float32]

INTERPOLATIONS = ("bicubic", "bilinear")
REGION_VIEW = "crop, resize, flip"
TEST_VIEWS = {"shortest": "resize shorter side, centre crop", "squash": "resize"}


@dataclass(frozen=True)
class Preprocessing:
    """How images are brought to what a tower was trained on.

    Attributes:
        image_size: side of the square input in pixels.
        mean: of the colours in [0, 1], taken off.
        std: of the colours, divided by.
        interpolation: by which images are resized.
        resize_mode: how a whole image becomes a square: "shortest" brings its shorter side to
            `image_size` and cuts the centre, "squash" resizes both.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    resize_mode: Literal["shortest", "squash"]

    def spec(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "Preprocessing":
        """Return the one that gave this `spec`; raise Key-, Type- or ValueError for any other."""
        mean, std = (tuple(map(float, spec[key])) for key in ("mean", "std"))
        found = cls(**{**spec, "mean": mean, "std": std})
        if found.resize_mode not in TEST_VIEWS or found.interpolation not in INTERPOLATIONS:
            raise ValueError(f"{found.resize_mode!r} by {found.interpolation!r}")
        if len(mean) != 3 or len(std) != 3 or not all(one > 0 for one in std):
            raise ValueError(f"mean {mean}, std {std}")
        return found

    def pixels(self, image: Image.Image, box: Box | None = None, flip: bool = False) -> Floats:
        """Return what a tower takes of a region: its `view`, normalised, float32 (3, S, S)."""
        return self.normalised(self.view(image, box, flip))

    def view(
        self, image: Image.Image, box: Box | None = None, flip: bool = False
    ) -> NDArray[np.uint8]:
        """Cut a region out of a decoded RGB image and bring it to the input's size.

        Args:
            image: the whole decoded image.
            box: (left, top, right, bottom) in pixels; None for the whole, as images are tested.
            flip: mirror left and right.

        Returns:
            uint8 (3, S, S): red, green, blue.
        """
        if box is None:
            view = self._whole(image)
        else:
            view = image.crop(box).resize((self.image_size, self.image_size), self._resampling)
        if flip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.ascontiguousarray(np.asarray(view).transpose(2, 0, 1))  # bytes are moved faster

    def normalised(self, views: NDArray[np.uint8]) -> Floats:
        """Return (x / 255 - mean) / std of views (..., 3, S, S)."""
        factor, shift = self.affine
        pixels = views.astype(np.float32)
        pixels *= factor
        pixels += shift
        return pixels

    @property
    def of_views(self) -> dict[str, Any]:
        """All that decides a `view`, as plain values."""
        return {
            "image_size": self.image_size,
            "interpolation": self.interpolation,
            "region_view": REGION_VIEW,
            "test_view": TEST_VIEWS[self.resize_mode],
        }

    @cached_property
    def affine(self) -> tuple[Floats, Floats]:
        """Factor and shift (3, 1, 1) that normalise bytes: x factor + shift."""
        mean, std = (np.array(x, np.float32).reshape(3, 1, 1) for x in (self.mean, self.std))
        return np.float32(1 / 255) / std, -mean / std

    @property
    def _resampling(self) -> Image.Resampling:
        return Image.Resampling[self.interpolation.upper()]

    def _whole(self, image: Image.Image) -> Image.Image:
        if self.resize_mode == "squash":
            return image.resize((self.image_size, self.image_size), self._resampling)
        return centre_view(image, self.image_size, self._resampling)


def centre_view(
    image: Image.Image, size: int, interpolation: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Resize the shorter side to `size` and cut the centre square, as the field tests."""
    width, height = image.size
    short = min(width, height)
    scaled = (int(size * width / short), int(size * height / short))
    left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
    return image.resize(scaled, interpolation).crop((left, top, left + size, top + size))
