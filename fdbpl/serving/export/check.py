"""Whether what was exported decides as the model does: on the same pixels, in any batch."""

from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.data.images import decode
from fdbpl.serving.pictures import pictures
from fdbpl.serving.predictor import Predictor
from fdbpl.system.errors import UserError

Pixels = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

CLOSE = 1e-4
"""By how much logits may differ."""

TRIED = 64
"""Pictures that are tried."""

SIZES = (1, 7, TRIED)
"""Of batches."""


@dataclass(frozen=True)
class Difference:
    """Between logits of the same pictures.

    Attributes:
        largest: of any logit; not a number where one is not.
        same: share of pictures with the same likeliest class; two whose logits are as good as
            equal count as the same.
    """

    largest: float
    same: float


def difference(wanted: Floats, found: Floats, tie: float = 0.0) -> Difference:
    """Compare logits (n, C); classes whose wanted logits differ by `tie` or less are tied."""
    chosen = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    same = float(np.mean(wanted.max(axis=1) - chosen <= tie))
    return Difference(float(np.abs(found - wanted).max()), same)


def require_close(wanted: Floats, found: Floats, what: str, close: float = CLOSE) -> None:
    """Raise UserError where logits differ by more than `close`, or a likeliest class does."""
    differs = difference(wanted, found, tie=2 * close)
    if not differs.largest <= close or differs.same < 1:
        raise UserError(
            f"{what}: logits differ from those of fdbpl predict by {differs.largest:.1e}, wanted "
            f"at most {close:.0e}; the likeliest class is the same for {differs.same:.1%} of "
            f"{len(wanted)} pictures. Nothing was written. Report this, with the model's card."
        )


def require_equal(
    predictor: Predictor, logits: Callable[[Pixels], Floats], pixels: Pixels, what: str
) -> float:
    """Try what was exported in batches of several sizes and in another order.

    Args:
        predictor: whose logits are wanted.
        logits: what was exported, from pixels (n, 3, S, S) to logits (n, C).
        pixels: of the pictures that are tried.
        what: was exported, for errors.

    Returns:
        The largest difference of a logit.

    Raises:
        UserError: some logits differ.
    """
    wanted, largest = predictor.logits(pixels), 0.0
    order = np.random.default_rng(0).permutation(len(pixels))
    ways = [(f"{what}, batches of {size}", size, np.arange(len(pixels))) for size in SIZES]
    ways.append((f"{what}, pictures in another order", TRIED, order))
    for way, size, rows in ways:
        found = in_batches(logits, pixels[rows], size)
        require_close(wanted[rows], found, way)
        largest = max(largest, difference(wanted[rows], found).largest)
    return largest


def in_batches(logits: Callable[[Pixels], Floats], pixels: Pixels, size: int) -> Floats:
    """Return logits (n, C) that were found `size` pictures at once."""
    return np.concatenate(
        [logits(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    )


def tried_pixels(predictor: Predictor, folder: Path | None) -> Pixels:
    """Return pixels (n, 3, S, S) to try an export on: of a folder's pictures, or at random.

    Raises:
        UserError: the folder holds no picture, or one that cannot be read.
    """
    if folder is not None:
        return pixels_of(predictor, some_pictures(folder, TRIED))
    size = predictor.preprocessing.image_size
    return np.random.default_rng(0).standard_normal((TRIED, 3, size, size)).astype(np.float32)


def some_pictures(folder: Path, most: int) -> list[Path]:
    """Return at most so many of the pictures in and below a folder, evenly from all of it.

    Raises:
        UserError: it holds none.
    """
    found = list(map(Path, pictures([str(folder)], StringIO()))) if folder.is_dir() else []
    if not found:
        raise UserError(f"{folder}: no folder of pictures. Give --pictures one that holds some.")
    places = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[place] for place in places]


def pixels_of(predictor: Predictor, paths: list[Path]) -> Pixels:
    """Return the pixels (n, 3, S, S) of pictures. Raises UserError for one that is none."""
    return np.stack([predictor.pixels(decode(path)) for path in paths])
