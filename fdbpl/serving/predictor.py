"""Predictions by a model: decoded pictures in, class probabilities and a score out. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.classify.decision import Decision
from fdbpl.clip.onnx_tower import OnnxTower
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.evaluation.calibration import KEPT, Calibration
from fdbpl.evaluation.logits import logsumexp
from fdbpl.serving.model_folder import AGAIN, CLASSIFIER, TOWER, ModelFolder, open_model
from fdbpl.system.errors import UserError

Floats = NDArray[np.floating[Any]]

KEEP = 95
"""Per cent of known pictures that the threshold keeps where nobody asks for another."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of a picture.

    Attributes:
        top: the likeliest classes and their probabilities, in falling order.
        score: the energy of the logits: the higher, the surer that one of the classes is shown.
        known: whether the score reaches the threshold; None where no threshold is known, for
            class names that the model was not learned on.
    """

    top: tuple[tuple[str, float], ...]
    score: float
    known: bool | None


@dataclass(frozen=True)
class Judgement:
    """What a model says of n pictures, between C classes.

    Attributes:
        probabilities: (n, C).
        scores: (n,), see `Prediction`.
        known: (n,), see `Prediction`; None where no threshold is known.
    """

    probabilities: Floats
    scores: Floats
    known: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Predictor:
    """A model that is loaded.

    Attributes:
        tower: the student's image tower.
        preprocessing: from a decoded picture to what the tower takes.
        decision: between the classes.
        class_names: by label.
        calibration: of the decision's logits.
        knows_thresholds: whether the calibration's thresholds are of these classes.
    """

    tower: OnnxTower
    preprocessing: Preprocessing
    decision: Decision
    class_names: tuple[str, ...]
    calibration: Calibration
    knows_thresholds: bool = True

    def pixels(self, picture: Image.Image) -> NDArray[np.float32]:
        """Return what the tower takes (3, S, S) of a decoded RGB picture."""
        return self.preprocessing.pixels(picture)

    def logits(self, pixels: NDArray[np.float32]) -> Floats:
        """Return the logits (n, C) of pixels (n, 3, S, S)."""
        return self.decision.logits(self.tower(pixels), range(len(self.class_names)))

    def judgement(self, logits: Floats, keep: int = KEEP) -> Judgement:
        """Return what is said of n pictures with logits (n, C).

        Args:
            logits: as `logits` returns them.
            keep: per cent of known pictures that shall count as known: 90, 95 or 99.
        """
        scores = logsumexp(logits)
        known = scores >= self.calibration.thresholds[keep] if self.knows_thresholds else None
        return Judgement(self.calibration.probabilities(logits), scores, known)

    def predictions(
        self, pixels: NDArray[np.float32], top: int = 5, keep: int = KEEP
    ) -> list[Prediction]:
        """Return what is predicted of pixels (n, 3, S, S).

        Args:
            pixels: of n pictures.
            top: how many classes to name.
            keep: see `judgement`.
        """
        return self.of_logits(self.logits(pixels), top, keep)

    def of_logits(self, logits: Floats, top: int = 5, keep: int = KEEP) -> list[Prediction]:
        """Return what is predicted of n pictures with logits (n, C); see `predictions`."""
        found = self.judgement(logits, keep)
        order = np.argsort(-found.probabilities, axis=1, kind="stable")[:, :top]
        return [
            Prediction(
                tuple((self.class_names[label], float(row[label])) for label in labels),
                float(found.scores[place]),
                None if found.known is None else bool(found.known[place]),
            )
            for place, (row, labels) in enumerate(zip(found.probabilities, order, strict=True))
        ]


def load_predictor(path: Path, threads: int | None = None) -> Predictor:
    """Load a model for predictions.

    Args:
        path: the model's folder.
        threads: that share a batch in the image tower; by default one a core.

    Raises:
        UserError: see `open_model`; or its files do not belong together.
    """
    return predictor_of(open_model(path), threads)


def predictor_of(model: ModelFolder, threads: int | None = None) -> Predictor:
    """Return what predicts by an open model; see `load_predictor`."""
    about = model.about
    classifier = Artifact.of(model.read(CLASSIFIER), model.path / CLASSIFIER, "classifier")
    require_same_student(model, classifier)
    try:
        found = Predictor(
            tower=OnnxTower(model.read(TOWER), threads),
            preprocessing=Preprocessing.of(about.preprocessing),
            decision=decision_of(classifier),
            class_names=tuple(about.class_names),
            calibration=Calibration(about.temperature, about.thresholds),
        )
        problem = _problem(found, classifier)
    except UserError:
        raise
    except Exception as error:  # of ONNX Runtime, or for values that are no preprocessing
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if problem is not None:
        raise UserError(f"{model.path}: its files do not belong together: {problem}. {AGAIN}")
    return found


def _problem(predictor: Predictor, classifier: Artifact) -> str | None:
    """Return what does not fit in a model that anybody may have made; None where all does."""
    names = tuple(classifier.about.get("class_names", ()))
    if names != predictor.class_names:
        return f"{CLASSIFIER} has the classes {list(names)}, not {list(predictor.class_names)}"
    sizes = predictor.tower.image_size, predictor.preprocessing.image_size
    if len(set(sizes)) != 1:
        return f"{TOWER} takes pictures of {sizes[0]} pixels, not {sizes[1]}"
    missing = sorted(set(KEPT) - set(predictor.calibration.thresholds))
    if missing:
        return f"no threshold that keeps {missing[0]} per cent"
    width = predictor.tower.width
    feature = np.full((1, width), width**-0.5, np.float32)  # touches every number of the decision
    with np.errstate(all="ignore"):  # the result tells
        logits = predictor.decision.logits(feature, range(len(names)))
        probabilities = predictor.calibration.probabilities(logits)
    if probabilities.shape != (1, len(names)) or not np.isfinite(probabilities).all():
        return f"{CLASSIFIER} gives no probabilities of {len(names)} classes"
    return None


def require_same_student(model: ModelFolder, learned: Artifact) -> None:
    """Raise UserError when a file of the model is of another student than `model.json` says."""
    of_model, own = model.about.student, learned.about["student"]
    differs: Sequence[str] = [key for key in of_model if own.get(key) != of_model[key]]
    if differs:
        key = differs[0]
        raise UserError(
            f"{model.path}: learned with a student of {key} {own.get(key)!r}, and the model is of "
            f"{of_model[key]!r}. Learn it again."
        )
