"""`PromptClassifier`: pictures in, classes out, by the conventions of scikit-learn."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from fdbpl.clip.params import named_model
from fdbpl.data.images import Picture, Pictures, listed, opened
from fdbpl.data.names import require_distinct, spoken
from fdbpl.evaluation.calibration import KEPT
from fdbpl.evaluation.logits import logsumexp
from fdbpl.learning.learn import learn_pictures
from fdbpl.learning.model import made_of, save
from fdbpl.learning.request import STUDENT, TEACHER, Request
from fdbpl.protocols.protocol import Shots
from fdbpl.serving.make import Made, predictor_of_made
from fdbpl.serving.model_folder import open_model
from fdbpl.serving.predictor import KEEP, predictor_of
from fdbpl.system.ahead import ahead
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

Floats = NDArray[np.floating[Any]]

AT_ONCE = 8
CLASSES = "classes"
"""In `made` of a model: its labels, where they are others than the class names."""


class PromptClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifies pictures by what `fdbpl learn` learns from them.

    Pictures are paths of files, bytes of files, images of Pillow's, or arrays of bytes (H, W, 3).

    Args:
        student: ARCHITECTURE:WEIGHTS of the model whose image tower looks; by default the small
            one that is installed.
        teacher: likewise of the model that tells what pictures show.
        method: of the registry, or several to choose from; by default those that take seconds.
        template: the sentence around a class name.
        shots: pictures of each class to learn from, or "all".
        crops: regions of each picture.
        seed: of shots and training.
        device: "auto", "cpu" or "cuda".
        store: folder or URL in which what was encoded is found again; by default nothing stays.

    Attributes:
        classes_: (C,) the labels, in the order of `predict_proba`'s columns.
        measured_: what was measured on held-out pictures; see `fdbpl.learning.figures`.
    """

    def __init__(
        self,
        student: str | None = None,
        teacher: str | None = None,
        method: str | Sequence[str] | None = None,
        template: str = "a photo of a {}.",
        shots: Shots = "all",
        crops: int = 4,
        seed: int = 1,
        device: str = "auto",
        store: str | None = None,
    ) -> None:
        """Nothing is loaded yet."""
        self.student = student
        self.teacher = teacher
        self.method = method
        self.template = template
        self.shots = shots
        self.crops = crops
        self.seed = seed
        self.device = device
        self.store = store

    def fit(
        self,
        images: Pictures,
        labels: Sequence[Any] | NDArray[Any] | None = None,
        *,
        names: Sequence[str] | Mapping[Any, str] | None = None,
    ) -> Self:
        """Learn from pictures and labels, or from pictures and the names of classes alone.

        Args:
            images: n pictures.
            labels: n of them, of any kind; None where nobody knows them: the teacher tells.
            names: without labels, the C class names; with labels, by label the name that goes into
                the prompt, where that is another than the label itself.

        Raises:
            UserError: labels or names that do not fit, a picture that cannot be read, or see
                `fdbpl.learning.learn.learn_pictures`.
        """
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            request = self._request(root, listed(images), labels, names)
            outcome = learn_pictures(request, Workspace(root / "work"))
            made = made_of(type(self).__name__, request, outcome)
        self.classes_: NDArray[Any] = (
            np.array(made.classifier.about["class_names"]) if labels is None else np.unique(labels)
        )
        if self.classes_.tolist() != list(made.classifier.about["class_names"]):
            made = replace(made, made={**made.made, CLASSES: self.classes_.tolist()})
        self._made: Made | None = made
        self._predictor = predictor_of_made(made)
        self.measured_: Mapping[str, Any] = made.measured
        return self

    def decision_function(self, images: Pictures) -> Floats:
        """Return the logits (n, C); of two classes (n,): by how much the second is ahead."""
        logits = self._logits(images)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def _logits(self, images: Pictures) -> Floats:
        check_is_fitted(self, "classes_")
        predictor = self._predictor

        def judged(group: tuple[Picture, ...]) -> Floats:
            return predictor.logits(np.stack([predictor.pixels(opened(one)) for one in group]))

        found = list(ahead(judged, _groups(listed(images)), os.cpu_count() or 1))
        return np.concatenate(found) if found else np.empty((0, len(self.classes_)), np.float32)

    def predict_proba(self, images: Pictures) -> Floats:
        """Return the probabilities (n, C) of the classes, in the order of `classes_`."""
        logits = self._logits(images)
        return self._predictor.calibration.probabilities(logits)

    def predict(self, images: Pictures) -> NDArray[Any]:
        """Return the labels (n,)."""
        labels = self._logits(images).argmax(axis=1)
        found: NDArray[Any] = self.classes_[labels]
        return found

    def is_known(self, images: Pictures, keep: int = KEEP) -> NDArray[np.bool_]:
        """Tell which pictures (n,) show one of the classes at all.

        Args:
            images: n pictures.
            keep: per cent of known pictures that shall count as known: 90, 95 or 99.
        """
        if keep not in KEPT:
            raise UserError(f"keep is {keep}, wanted one of {', '.join(map(str, KEPT))}.")
        scores = logsumexp(self._logits(images))
        found: NDArray[np.bool_] = scores >= self._predictor.calibration.thresholds[keep]
        return found

    def save(self, path: str | Path) -> None:
        """Write the model as a folder, for `fdbpl predict` or `load`.

        Raises:
            UserError: it was loaded, so the folder is there already; or see `save_model`.
        """
        check_is_fitted(self, "classes_")
        if self._made is None:
            raise UserError(f"{path}: this model was loaded. Copy the folder that it is in.")
        save(Path(path), self._made)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that `save` or `fdbpl learn` wrote.

        Raises:
            UserError: see `fdbpl.serving.model_folder.open_model`.
        """
        model = open_model(Path(path))
        about = model.about
        found = cls(template=about.template)
        found.classes_ = np.array(about.made.get(CLASSES, about.class_names))
        found.measured_ = about.measured
        found._made = None
        found._predictor = predictor_of(model, threads=1)
        return found

    def _request(
        self,
        root: Path,
        images: Sequence[Picture],
        labels: Sequence[Any] | NDArray[Any] | None,
        names: Sequence[str] | Mapping[Any, str] | None,
    ) -> Request:
        place = root / "pictures"
        form: dict[str, Any]
        if labels is not None:
            if len(labels) != len(images):
                raise UserError(
                    f"{len(images)} images and {len(labels)} labels, wanted one label an image."
                )
            if names is not None and not isinstance(names, Mapping):
                raise UserError(
                    "names beside labels are a list, wanted a dictionary from labels to names."
                )
            known, of_image = _distinct(labels)
            given = names or {}
            spoken_names = [spoken(str(given.get(one, one))) for one in known.tolist()]
            _require_classes([f"label {one!r}" for one in known.tolist()], spoken_names)
            _lay_out(place, images, [f"{label:06d}" for label in of_image])
            form = {"class_names": spoken_names}
        elif names is None:
            raise UserError("neither labels nor names are given, wanted either of them.")
        elif isinstance(names, str | Mapping):
            raise UserError("names without labels are no list, wanted a list of class names.")
        else:
            spoken_names = [spoken(str(name)) for name in names]
            _require_classes([f"name {place}" for place, _ in enumerate(names, 1)], spoken_names)
            _lay_out(place, images, ["all"] * len(images))
            listed = root / "names.txt"
            listed.write_text("".join(f"{name}\n" for name in spoken_names), encoding="utf-8")
            form = {"names": listed}
        methods = [self.method] if isinstance(self.method, str) else list(self.method or ())
        return Request(
            pictures=place,
            template=self.template,
            methods=methods,
            shots=self.shots,
            crops=self.crops,
            seed=self.seed,
            device=self.device,
            store=self.store or str(root / "store"),
            student=named_model(self.student, "student") if self.student else STUDENT,
            teacher=named_model(self.teacher, "teacher") if self.teacher else TEACHER,
            **form,
        )


def _require_classes(places: Sequence[str], names: Sequence[str]) -> None:
    require_distinct(zip(places, names, strict=True))
    if len(names) < 2:
        said = repr(names[0]) if names else "none"
        raise UserError(f"classes: {said}; wanted two at least.")


def _distinct(labels: Sequence[Any] | NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the different labels in order, and which of them each one is."""
    found = np.asarray(labels)
    try:
        known, of_image = np.unique(found, return_inverse=True)
    except TypeError:
        raise UserError(
            "labels of several kinds, or some missing; wanted text alone, or numbers alone."
        ) from None
    if found.ndim != 1:
        raise UserError(f"labels of shape {found.shape}, wanted one label an image.")
    if known.dtype.kind == "f" and np.isnan(known).any():
        raise UserError("a label is missing (NaN), wanted one label an image.")
    return known, of_image


def _lay_out(place: Path, images: Sequence[Picture], folders: Iterable[str]) -> None:
    """Write pictures as files into the folders of their classes; files are linked to.

    Raises:
        UserError: one cannot be read: by whoever learns it would be left out.
    """

    def written(job: tuple[int, tuple[Picture, str]]) -> None:
        number, (picture, folder) = job
        (place / folder).mkdir(parents=True, exist_ok=True)
        path = place / folder / f"{number:08d}.png"  # the content tells the format, not the name
        image = opened(picture)
        if isinstance(picture, str | Path):
            path.symlink_to(Path(picture).absolute())
        else:
            image.save(path, compress_level=1)

    jobs = enumerate(zip(images, folders, strict=True))
    for _ in ahead(written, jobs, os.cpu_count() or 1):
        pass


def _groups(images: Iterable[Picture]) -> Iterator[tuple[Picture, ...]]:
    rest = iter(images)
    while group := tuple(islice(rest, AT_ONCE)):
        yield group
