"""Regions: which box of which image is cropped, and whether it is flipped.

A region is decided by (seed, content hash of the image, index of the crop, policy) and by nothing
else, so adding images, classes, shots, seeds or crops never moves another region.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.system.errors import UserError

Box = tuple[int, int, int, int]  # left, top, right, bottom, as in REGION

# image: row of the plan's image table; box: left, top, right, bottom in pixels of the upright,
# decoded image, right and bottom exclusive; flip: 1 when mirrored left to right after cropping.
REGION = np.dtype(
    [("image", "<u4"), ("crop", "<u4"), ("box", "<i4", (4,)), ("flip", "u1")],
)

# The law and the stream below. A change of either is a new generator, and a new name.
GENERATOR = "philox-1"

TRIES = 10
DRAWS_PER_TRY = 4  # area, aspect ratio, left, top
FLIP_DRAW = TRIES * DRAWS_PER_TRY
DRAWS = FLIP_DRAW + 4  # whole Philox blocks of four numbers, so crop k starts at a counter


@dataclass(frozen=True)
class CropPolicy:
    """The law of the boxes: torchvision's RandomResizedCrop, then a horizontal flip.

    scale: least and largest share of the image's area; ratio: least and largest width / height;
    flip: probability of mirroring. Raises UserError for values outside their ranges.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a law that no box can follow."""
        _require(0 < self.scale[0] <= self.scale[1] <= 1, "scale", self.scale, "0 < a <= b <= 1")
        _require(
            0 < self.ratio[0] <= self.ratio[1] < float("inf"), "ratio", self.ratio, "0 < a <= b"
        )
        _require(0 <= self.flip <= 1, "flip", self.flip, "a probability, 0 to 1")

    def fields(self) -> dict[str, Any]:
        """Return the policy and the generator's name as JSON values, for manifests."""
        return {"generator": GENERATOR, **asdict(self)}


def draw_regions(
    seed: int,
    image: int,
    image_hash: bytes,
    width: int,
    height: int,
    count: int,
    policy: CropPolicy,
) -> NDArray[np.void]:
    """Draw crops 0 to count - 1 of one image of width x height pixels.

    seed: the regions' own seed, 0 <= seed < 2**64; image: the row written into the result, without
    influence on the boxes; image_hash: 16 bytes. Returns REGION[count]; its first k rows are what
    `count=k` returns. Raises UserError for a seed out of range or an image without pixels.
    """
    _require(0 <= seed < 2**64, "seed", seed, "0 <= seed < 2**64")
    _require(width > 0 and height > 0, "image size", f"{width} x {height}", "at least 1 x 1")
    draws = _draws(seed, image_hash, count)
    regions = np.zeros(count, REGION)
    regions["image"] = image
    regions["crop"] = np.arange(count)
    regions["box"] = _boxes(draws[:, :FLIP_DRAW], width, height, policy)
    regions["flip"] = draws[:, FLIP_DRAW] < policy.flip
    return regions


def _draws(seed: int, image_hash: bytes, count: int) -> NDArray[np.float64]:
    """Return the (count, DRAWS) table of uniform numbers in [0, 1); row k belongs to crop k."""
    digest = hashlib.blake2b(
        seed.to_bytes(8, "little") + image_hash, digest_size=16, person=b"fdbpl regions 1"
    ).digest()
    stream = np.random.Philox(key=np.frombuffer(digest, "<u8").astype(np.uint64))
    raw = stream.random_raw(count * DRAWS).reshape(count, DRAWS)
    table: NDArray[np.float64] = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return table


def _boxes(
    draws: NDArray[np.float64], width: int, height: int, policy: CropPolicy
) -> NDArray[np.int32]:
    """Return (count, 4) boxes: the first of TRIES that fits, else the centre box."""
    count = len(draws)
    area_draw, ratio_draw, left_draw, top_draw = np.moveaxis(
        draws.reshape(count, TRIES, DRAWS_PER_TRY), 2, 0
    )
    low, high = policy.scale
    area = width * height * (low + area_draw * (high - low))
    log_low, log_high = np.log(policy.ratio)
    ratio = np.exp(log_low + ratio_draw * (log_high - log_low))
    w = np.rint(np.sqrt(area * ratio))
    h = np.rint(np.sqrt(area / ratio))
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    left = np.floor(left_draw * (width - w + 1))
    top = np.floor(top_draw * (height - h + 1))
    tries = np.stack([left, top, left + w, top + h], axis=2)
    first = np.argmax(fits, axis=1)
    drawn = tries[np.arange(count), first]
    centre = np.array(_centre_box(width, height, policy.ratio))
    boxes = np.where(fits.any(axis=1)[:, None], drawn, centre)
    return boxes.astype(np.int32)


def _centre_box(width: int, height: int, ratio: tuple[float, float]) -> Box:
    """Return the largest centred box whose width / height lies within `ratio`."""
    w, h = width, height
    if width / height < ratio[0]:
        h = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        w = max(1, round(height * ratio[1]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _require(holds: bool, name: str, found: object, wanted: str) -> None:
    if not holds:
        raise UserError(f"regions: {name} is {found}; wanted {wanted}")
