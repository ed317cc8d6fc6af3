"""Shifted versions of test pictures: the same classes, seen otherwise.

Each is fixed before anything is measured. What is left to chance in a picture follows from the
seed and the picture's own bytes, so that no other picture, order or run changes it.
"""

import csv
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from fdbpl.system.errors import UserError
from fdbpl.system.files import whole_folder
from studies.photographs.parts import Picture, class_names, decode, read_part

SEED = 1
TABLE = "table.csv"
QUALITY = 90

LINE = 0.8
"""Width in pixels of the Gaussian whose derivative finds edges."""
FAINTEST, DARKEST = 0.15, 0.75
"""Edges below the one, as a share of the picture's strongest, stay white; above the other, black.
"""
SHORT_SIDE = 24
"""What `lowres` keeps of a picture's short side, in pixels."""
GAIN, GAMMA, LIFT, NOISE = (0.45, 1.25), (0.6, 1.7), 0.12, (0.06, 0.12)
"""Of `cast`: each channel's factor, the exponent, the most that is added to a channel, and the
noise's standard deviation; in shares of full brightness."""
BLUR = 1 / 32
"""Standard deviation of the blur of `occluded`, as a share of the short side."""
COVER, SLIMNESS, GREY = (0.2, 0.35), 1.6, (70, 186)
"""Of the rectangle of `occluded`: its share of the area, the most that one side may be longer than
the picture's shape has it, and its grey level."""


def edges(image: Image.Image, _: Generator) -> Image.Image:
    """Return the picture's edges as dark lines on white; nothing is left to chance."""
    strength = np.max(
        [
            ndimage.gaussian_gradient_magnitude(channel, LINE, mode="nearest")
            for channel in _floats(image).transpose(2, 0, 1)
        ],
        axis=0,
    )
    strongest = max(float(np.quantile(strength, 0.99)), 1e-3)  # a flat picture has no lines
    ink = np.clip((strength / strongest - FAINTEST) / (DARKEST - FAINTEST), 0, 1)
    return _image(np.repeat(1 - ink[..., None], 3, axis=2))


def lowres(image: Image.Image, _: Generator) -> Image.Image:
    """Return the picture as a small one enlarged; nothing is left to chance."""
    scale = min(1, SHORT_SIDE / min(image.size))
    small = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(small, Image.Resampling.BICUBIC).resize(
        image.size, Image.Resampling.BICUBIC
    )


def cast(image: Image.Image, rng: Generator) -> Image.Image:
    """Return the picture in a light of another colour and brightness, with a sensor's noise."""
    low, high = np.log(GAMMA)
    gamma = np.exp(rng.uniform(low, high))
    gain, lift = rng.uniform(*GAIN, 3), rng.uniform(-LIFT, LIFT, 3)
    pixels = _floats(image) ** gamma * gain + lift
    return _image(pixels + rng.normal(0, rng.uniform(*NOISE), pixels.shape))


def occluded(image: Image.Image, rng: Generator) -> Image.Image:
    """Return the picture out of focus, behind a grey rectangle."""
    share = rng.uniform(*COVER)
    slim = np.exp(rng.uniform(-1, 1) * math.log(SLIMNESS))
    width = min(image.width, max(1, round(image.width * math.sqrt(share * slim))))
    height = min(image.height, max(1, round(share * image.width * image.height / width)))
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    shown = image.filter(ImageFilter.GaussianBlur(BLUR * min(image.size)))
    grey = int(rng.integers(*GREY))
    shown.paste((grey, grey, grey), (left, top, left + width, top + height))
    return shown


Shift = Callable[[Image.Image, Generator], Image.Image]
"""From an RGB picture to one of the same size."""

SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {one.__name__: one for one in (edges, lowres, cast, occluded)}
)


def generator(data: bytes, seed: int = SEED) -> Generator:
    """Return what decides the chance in a picture of these bytes."""
    key = hashlib.sha256(seed.to_bytes(8, "little") + hashlib.sha256(data).digest()).digest()
    return Generator(Philox(key=int.from_bytes(key[:16], "little")))


def write_shifted(photos: Path, dataset: str, shift: str, out: Path) -> Path:
    """Write the shifted test pictures of a dataset to `out`/DATASET-SHIFT, and return their table.

    The table names an image, its class and the split test in each row: `read_table` opens it as a
    dataset without training pictures, which may stand under `shifted`. Its class names are those
    that `read_folder` gives for the plain dataset; both sort, the one names and the other folders.
    A folder that stands there already is whole, and is left as it is.

    Raises:
        UserError: see `read_part`; or there is no such shift, or a class has no test picture.
    """
    if shift not in SHIFTS:
        raise UserError(
            f"{dataset}: shift {shift!r} is unknown, wanted one of {', '.join(SHIFTS)}."
        )
    folder = out / f"{dataset}-{shift}"
    if folder.is_dir():
        return folder / TABLE
    names = list(class_names(photos, dataset).values())
    with whole_folder(folder) as aside:
        labels = []
        table = io.StringIO(newline="")
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("image", "class", "split"))
        for picture, data in _shifted(read_part(photos, dataset, "test"), SHIFTS[shift]):
            path = aside / "test" / picture.below_part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            labels.append(picture.label)
            rows.writerow((path.relative_to(aside).as_posix(), names[picture.label], "test"))
        if lacking := sorted(set(range(len(names))) - set(labels)):
            raise UserError(
                f"{photos / dataset}.test.tar: no test picture of {names[lacking[0]]!r} "
                f"({len(lacking)} of {len(names)} classes), wanted some of each. Add them."
            )
        (aside / TABLE).write_text(table.getvalue(), encoding="utf-8")
    return folder / TABLE


def _shifted(pictures: Iterator[Picture], shift: Shift) -> Iterator[tuple[Picture, bytes]]:
    """Yield each picture with the JPEG file of its shifted version."""
    for picture in pictures:
        file = io.BytesIO()
        shown = shift(decode(picture), generator(picture.data))
        shown.save(file, "JPEG", quality=QUALITY, subsampling=0)
        yield picture, file.getvalue()


def _floats(image: Image.Image) -> NDArray[np.float64]:
    """Return pixels (height, width, 3) from 0 to 1."""
    return np.asarray(image, np.float64) / 255


def _image(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
