"""What a training is given, checked before anything is learned from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.system.errors import UserError

Ints = NDArray[np.integer[Any]]

UNIT = 0.01  # that a length may be off 1: half precision and whole steps stay far below
ROWS_AT_ONCE = 8192  # of which lengths are taken, in float32


def require_rows(
    name: str, values: object, shape: tuple[int | None, ...], why: str, *, unit: bool = True
) -> None:
    """Refuse an array of another shape, or of rows that are not finite or not of length 1.

    Args:
        name: what a message calls it.
        values: the array; a function from rows to values is believed.
        shape: wanted, None for any size.
        why: says where the shape comes from.
        unit: whether rows are of length 1; else any finite numbers will do.

    Raises:
        UserError: it is something else.
    """
    if callable(values):
        return
    if not isinstance(values, np.ndarray):
        raise UserError(f"{name} is a {type(values).__name__}, wanted an array of numpy.")
    sizes = zip(values.shape, shape, strict=False)
    if values.ndim != len(shape) or any(wanted not in (None, found) for found, wanted in sizes):
        spelled = ", ".join("any" if size is None else str(size) for size in shape)
        raise UserError(f"{name} has shape {list(values.shape)}, wanted [{spelled}]: {why}.")
    for start in range(0, len(values), ROWS_AT_ONCE):
        part = np.asarray(values[start : start + ROWS_AT_ONCE], np.float32)
        lengths = np.linalg.norm(part.reshape(len(part), -1), axis=1)
        sound = np.abs(lengths - 1) <= UNIT if unit else np.isfinite(lengths)
        if not sound.all():
            row = int(np.argmin(sound))
            if not np.isfinite(lengths[row]):
                raise UserError(
                    f"{name}: row {start + row} is not finite. Correct or leave it out."
                )
            raise UserError(
                f"{name}: row {start + row} has length {lengths[row]:.4g}, wanted 1. Divide every "
                "row by its length."
            )


def require_images(
    labels: Ints, picks: Mapping[int, Sequence[int] | Ints], classes: int | None
) -> None:
    """Refuse images that are none, and labels that are of no class.

    Args:
        labels: of all images.
        picks: for each seed the images it learns from.
        classes: their number, where labels are read at all.

    Raises:
        UserError: seeds learn from unequally many images, from none, or from one without a label;
            or a label is of no class.
    """
    counts = [len(images) for images in picks.values()]
    if len(set(counts)) > 1:
        raise UserError(f"the seeds learn from {counts} images, wanted equally many each.")
    for seed, images in picks.items():
        _require_below(f"picks of seed {seed}", np.asarray(images), len(labels), "images")
    if classes is not None:
        _require_below("labels", labels, classes, "class names")


def _require_below(name: str, numbers: Ints, end: int, what: str) -> None:
    if not len(numbers):
        raise UserError(f"{name}: none, wanted at least one.")
    wrong = numbers[(numbers < 0) | (numbers >= end)]
    if len(wrong):
        raise UserError(f"{name}: {wrong[0]} is among them, wanted 0 to {end - 1}: {end} {what}.")
