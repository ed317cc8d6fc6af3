"""A registered model as MLflow loads it: pictures in, a row of classes and probabilities out.

MLflow runs this file itself, with a model folder of fdbpl as its artifact.
"""

import base64
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray
from PIL import Image

from fdbpl.data.images import UnreadableImage, decode, decode_bytes
from fdbpl.evaluation.calibration import KEPT
from fdbpl.serving.predictor import KEEP, Predictor, load_predictor

AT_ONCE = 32
"""Pictures that are in memory together."""
SHOWN = 60
"""Characters of a text that errors repeat."""


class PictureClassifier(PythonModel):  # type: ignore[misc]
    """Class probabilities of pictures, from their files."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model folder. `allow_paths` of the model's configuration is off by default.

        Whoever loads the model may switch it on, and whoever starts a server; no request can, since
        a path that is read for a stranger tells him what lies on the disk.
        """
        self.predictor = load_predictor(Path(context.artifacts["model"]))
        self.allow_paths = (context.model_config or {}).get("allow_paths") is True

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return what is predicted of pictures, a row each.

        Args:
            context: of MLflow.
            model_input: with a column `image`: the bytes of a picture's file, the same in base64,
                or, where paths are allowed, the path of a file; or a list of these.
            params: `keep`, the per cent of known pictures that shall count as known.

        Returns:
            `class`, the likeliest; `probability`, its own; `score`, the higher, the surer that one
            of the classes is shown; `known`, whether it reaches the threshold; and for each class
            `probability/<class>`.

        Raises:
            MlflowException: a picture cannot be decoded; its row, from 0, is named.
        """
        keep = int((params or {}).get("keep", KEEP))
        if keep not in KEPT:
            raise _refused(f"keep is {keep}, wanted one of {', '.join(map(str, KEPT))}.")
        predictor, values = self.predictor, _flat(model_input["image"])
        pixels = (predictor.pixels(self._picture(row, value)) for row, value in enumerate(values))
        try:
            parts = [frame(predictor, np.stack(group), keep) for group in _groups(pixels, AT_ONCE)]
        except UnreadableImage as error:
            raise _refused(str(error)) from None
        if not parts:
            raise _refused("no picture. Wanted at least one in the column image.")
        return pd.concat(parts, ignore_index=True)

    def _picture(self, row: int, value: object) -> Image.Image:
        name = f"row {row}"
        if isinstance(value, bytes | bytearray | memoryview):
            return decode_bytes(bytes(value), name)
        if not isinstance(value, str | Path):
            raise UnreadableImage(
                f"{name}: {type(value).__name__}, wanted the bytes of a picture's file, or the "
                "same as base64 text."
            )
        text = str(value)
        if self.allow_paths and os.path.isfile(text):  # noqa: PTH113 - base64 may be too long
            try:
                return decode(Path(text))
            except UnreadableImage as error:
                raise UnreadableImage(f"{name}: {error}") from None
        return decode_bytes(self._of_base64(text, name), name)

    def _of_base64(self, text: str, name: str) -> bytes:
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
            why = (
                "no file has this name"
                if self.allow_paths
                else "paths are read where the model is loaded with "
                "model_config={'allow_paths': True}"
            )
            raise UnreadableImage(
                f"{name}: {shown!r} is not the base64 of a picture's file; {why}."
            ) from None


def frame(predictor: Predictor, pixels: NDArray[np.float32], keep: int) -> pd.DataFrame:
    """Return what is predicted of pixels (n, 3, S, S), as `PictureClassifier.predict` does."""
    names, found = predictor.class_names, predictor.judgement(predictor.logits(pixels), keep)
    return pd.DataFrame(
        {
            "class": [names[label] for label in found.probabilities.argmax(axis=1)],
            "probability": found.probabilities.max(axis=1),
            "score": found.scores,
            "known": found.known,
            **dict(zip(columns(names), found.probabilities.T, strict=True)),
        }
    )


def columns(names: Sequence[str]) -> list[str]:
    """Return the column of each class; of classes with one name the second is numbered 2."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"probability/{name}" + (f" ({seen[name]})" if seen[name] > 1 else ""))
    return found


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple | np.ndarray):
            yield from value
        else:
            yield value


def _groups(pixels: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    rest = iter(pixels)
    while group := tuple(islice(rest, size)):
        yield group


def _refused(why: str) -> MlflowException:
    return MlflowException(why, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(PictureClassifier())
