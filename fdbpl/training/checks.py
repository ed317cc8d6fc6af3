"""What a training is given, checked before anything is learned, and what each epoch leaves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.methods.batch import Floats
from fdbpl.methods.params import TrainParams
from fdbpl.system.errors import UserError
from fdbpl.training.schedule import learning_rate

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


def require_fitting(
    sizes: tuple[int, int, int, int],
    *,
    student: object,
    teacher: object,
    teacher_vectors: Floats,
    anchors: object,
    ensemble: object,
    areas: object,
) -> None:
    """Refuse what does not fit to so many classes and regions, and widths of texts and images."""
    classes, regions, width, seen = sizes
    of_class, of_region = "a row for each class name", "a row for each region, labels x crops"
    require_rows("teacher_vectors", teacher_vectors, (classes, None), of_class)
    fitting = "its text tower" if seen == width else "its image tower before the projection"
    require_rows("student", student, (regions, seen), f"{of_region}, as wide as {fitting}")
    require_rows(
        "teacher",
        teacher,
        (regions, teacher_vectors.shape[1]),
        f"{of_region}, as wide as teacher_vectors",
    )
    for name, vectors in (("anchors", anchors), ("ensemble", ensemble)):
        if vectors is not None:
            require_rows(name, vectors, (classes, width), f"{of_class}, of the student")
    if areas is not None:
        require_rows("areas", areas, (regions,), of_region, unit=False)


def require_finite(
    method: str, seeds: Sequence[int], values: Iterable[Tensor], epoch: int, params: TrainParams
) -> None:
    """Refuse an epoch, from 0, that left a value (S, ...) of a seed that is not finite."""
    finite = [one.isfinite().view(len(one), one[0].numel()).all(dim=1) for one in values]
    sound = torch.stack(finite).all(dim=0)
    if not bool(sound.all()):  # asked once an epoch, since on a GPU no step shall wait for it
        raise diverged(method, seeds[sound.tolist().index(False)], epoch, params)


def diverged(method: str, seed: int, epoch: int, params: TrainParams) -> UserError:
    """Return what is said of a training whose numbers are not finite after an epoch, from 0."""
    return UserError(
        f"method {method!r}, seed {seed}: the training diverged in epoch {epoch + 1} of "
        f"{params.epochs}, at a rate of {learning_rate(params, epoch):g}. Lower train.lr "
        f"({params.lr:g}) or train.warmup_lr ({params.warmup_lr:g})."
    )
