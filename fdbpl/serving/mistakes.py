"""What a model takes the pictures of class folders for: the surest mistakes, in bounded memory."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fdbpl.data.dataset import PARTS
from fdbpl.data.disk import class_folders, images_below
from fdbpl.data.names import spoken
from fdbpl.evaluation.confusion import Confusion
from fdbpl.evaluation.mistakes import Judged, Surest, surest
from fdbpl.serving.model_folder import ModelFolder
from fdbpl.serving.predictor import predictor_of
from fdbpl.serving.stream import answers
from fdbpl.system.errors import UserError


class Picture(NamedTuple):
    """A picture that was judged.

    Attributes:
        path: of its file, relative to the folder.
        learned: whether the model was learned from it; None where the model does not say.
    """

    path: str
    learned: bool | None


@dataclass(frozen=True)
class Looked:
    """What a model made of a folder of class folders.

    Attributes:
        folder: that was looked at.
        confusion: of all its pictures that can be read.
        surest: mistakes, and a typical picture of each class.
        learned: how many of the pictures the model was learned from; None where it does not say.
        unread: how many cannot be read.
        others: folders that are none of the model's classes.
    """

    folder: Path
    confusion: Confusion
    surest: Surest[Picture]
    learned: int | None
    unread: int
    others: tuple[str, ...]


def look(model: ModelFolder, folder: Path, most: int, threads: int) -> Looked:
    """Judge the pictures of class folders.

    Args:
        model: that judges.
        folder: has a folder of pictures for each class, perhaps below train/, val/ and test/.
        most: mistakes that are wanted.
        threads: that decode and judge.

    Raises:
        UserError: no folder is called as a class of the model, or none of its pictures can be
            read.
    """
    places, others = _places(folder, model.about.class_names)
    known = model.learned
    predictor = predictor_of(model, threads=1)  # as many pictures are judged at once
    label_of = {name: label for label, name in enumerate(predictor.class_names)}
    counts = np.zeros((len(label_of), len(label_of)), np.int64)
    unread = learned = 0

    def judged() -> Iterator[Judged[Picture]]:
        nonlocal unread, learned
        wanted, told = tee(_listed(folder, places))
        found = answers(
            predictor, (str(folder / path) for _, path in wanted), threads=threads, top=1
        )
        for (label, path), answer in zip(told, found, strict=True):
            if answer.prediction is None:
                unread += 1
                continue
            name, probability = answer.prediction.top[0]
            is_learned = None if known is None else digest(folder / path) in known
            learned += bool(is_learned)
            counts[label, label_of[name]] += 1
            yield Judged(Picture(path, is_learned), label, label_of[name], probability)

    found = surest(judged(), most)
    if not counts.any():
        raise UserError(f"{folder}: no picture that can be read. Name a folder that holds some.")
    return Looked(
        folder=folder,
        confusion=Confusion(predictor.class_names, counts),
        surest=found,
        learned=None if known is None else learned,
        unread=unread,
        others=others,
    )


def digest(path: Path) -> str:
    """Return the digest of a picture's file by which plans and models know it."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _places(folder: Path, names: Sequence[str]) -> tuple[list[tuple[int, str]], tuple[str, ...]]:
    """Return the class folders by label, and those that are none of the model's classes."""
    found = class_folders(folder)
    if "train" in found or "test" in found:
        parts = [one for one in PARTS if one in found]
        found = [f"{part}/{name}" for part in parts for name in class_folders(folder / part)]
    label_of = {name.lower(): label for label, name in enumerate(names)}
    labels = {place: label_of.get(spoken(place.rpartition("/")[2]).lower()) for place in found}
    places = [(label, place) for place, label in labels.items() if label is not None]
    if not places:
        raise UserError(
            f"{folder}: none of its folders ({', '.join(found[:5])}) is called as one of the "
            f"model's classes ({', '.join(names[:5])}). Name a folder with a folder of pictures "
            "for each class."
        )
    return places, tuple(place for place, label in labels.items() if label is None)


def _listed(folder: Path, places: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield label and path of each picture, one class after the other."""
    for label, place in places:
        yield from ((label, path) for path in images_below(folder, place))
