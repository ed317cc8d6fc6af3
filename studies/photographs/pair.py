"""The student of the study and its teacher, and what they see of whole pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import unit
from fdbpl.clip import small
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.projection import last_projection
from fdbpl.clip.vectors import template_vectors
from studies.photographs.features import features
from studies.photographs.parts import DATASETS, EVIDENCE, class_names, read_part

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Photos:
    """The pictures of a part of a dataset, as both models see them whole.

    Attributes:
        labels: (n,) by the order of the classes' folders.
        hidden: (n, H) the student's before its last projection.
        student: (n, D) the student's.
        teacher: (n, E) the teacher's.
    """

    labels: Ints
    hidden: Floats
    student: Floats
    teacher: Floats

    def of(self, rows: Ints | NDArray[np.bool_]) -> "Photos":
        """Return some of them, by row or by a mask."""
        return Photos(self.labels[rows], self.hidden[rows], self.student[rows], self.teacher[rows])

    def with_others(self, *others: "Photos") -> "Photos":
        """Return these and others; labels of different datasets tell nothing."""
        every = (self, *others)
        return Photos(
            np.concatenate([one.labels for one in every]),
            np.concatenate([one.hidden for one in every]),
            np.concatenate([one.student for one in every]),
            np.concatenate([one.teacher for one in every]),
        )


class Pair:
    """The student of the study and its teacher, with what they see.

    Args:
        photos: where the tar files lie.
        out: holds all that is made.
        student: weights of the student.
        say: told of what was encoded.

    Attributes:
        source: the dataset whose pictures the bridge knows, too.
        second: another teacher: the student's image tower, its text tower told names well.
    """

    source = EVIDENCE[0]

    def __init__(self, photos: Path, out: Path, student: Path, say: Say) -> None:
        """Load both models, and encode what was not encoded before."""
        name, of_teacher = small.PAIR
        own = ModelParams(architecture=name, weights=str(student), activation="gelu")
        self.student = load_model(own, "student")
        self.teacher = load_model(ModelParams(architecture=of_teacher, weights="small"), "teacher")
        self.second = load_model(ModelParams(architecture=name, weights="small"), "teacher")
        self.names = {one: tuple(class_names(photos, one).values()) for one in DATASETS}
        self.seen = {part: self._seen(photos, part, out, say) for part in ("train", "test")}
        models = {"student": self.student, "teacher": self.teacher, "second": self.second}
        self.texts = {
            (one, of): template_vectors(clip, names, DATASETS[one].template)
            for one, names in self.names.items()
            for of, clip in models.items()
        }

    def _seen(self, photos: Path, part: str, out: Path, say: Say) -> dict[str, Photos]:
        """Return the pictures of a part by dataset."""
        hidden, before = (
            features(photos, part, model, out / "features", say) for model in small.PAIR
        )
        own, other = (last_projection(one).numpy() for one in (self.student, self.teacher))
        return {
            name: Photos(
                np.array([one.label for one in read_part(photos, name, part)]),
                hidden[name],
                unit(hidden[name] @ own),
                unit(before[name] @ other),
            )
            for name in DATASETS
        }
