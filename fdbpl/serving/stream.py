"""Predictions of any number of pictures, in order and in bounded memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from fdbpl.data.images import UnreadableImage, decode
from fdbpl.serving.predictor import KEEP, Prediction, Predictor
from fdbpl.system.ahead import ahead

AT_ONCE = 8
"""Pictures that a thread decodes and classifies together."""


@dataclass(frozen=True)
class Answer:
    """What there is to say of one picture: a prediction, or why there is none.

    Attributes:
        path: as it was given.
        prediction: None where the picture cannot be read.
        error: why it cannot.
    """

    path: str
    prediction: Prediction | None = None
    error: str | None = None


def answers(
    predictor: Predictor, paths: Iterable[str], *, threads: int, top: int = 5, keep: int = KEEP
) -> Iterator[Answer]:
    """Yield an answer for each path, in order.

    Every thread decodes some pictures and classifies them, so that none waits for another; the
    predictor's tower should use one thread of its own.

    Args:
        predictor: a model.
        paths: of pictures.
        threads: how many.
        top: see `Predictor.predictions`.
        keep: likewise.
    """
    work = partial(_answered, predictor, top, keep)
    for group in ahead(work, _groups(paths), threads):
        yield from group


def _groups(paths: Iterable[str]) -> Iterator[tuple[str, ...]]:
    rest = iter(paths)
    while group := tuple(islice(rest, AT_ONCE)):
        yield group


def _answered(predictor: Predictor, top: int, keep: int, paths: tuple[str, ...]) -> list[Answer]:
    pixels, errors = {}, {}
    for place, path in enumerate(paths):
        try:
            pixels[place] = predictor.pixels(decode(Path(path)))
        except UnreadableImage as error:
            errors[place] = str(error).removeprefix(f"{Path(path)}: ")
    found = predictor.predictions(np.stack([*pixels.values()]), top, keep) if pixels else []
    predicted = dict(zip(pixels, found, strict=True))
    return [
        Answer(path, predicted.get(place), errors.get(place)) for place, path in enumerate(paths)
    ]
