"""A registered model as MLflow loads it: a classifier over features of the student's image tower.

MLflow runs this file itself, with a classifier file of fdbpl as its artifact.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from fdbpl.classify.artifact import Artifact, decision_of


class Classifier(PythonModel):  # type: ignore[misc]
    """Class probabilities of images, from their features."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the classifier file."""
        artifact = Artifact.load(Path(context.artifacts["classifier"]), "classifier")
        self.decision = decision_of(artifact)
        self.class_names = artifact.about["class_names"]

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return probabilities, a row an image and a column a class, of unit features (N, D)."""
        features = np.asarray(model_input, np.float32)
        scores = self.decision.logits(features, range(len(self.class_names)))
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return pd.DataFrame(powers / powers.sum(axis=1, keepdims=True), columns=self.class_names)


mlflow.models.set_model(Classifier())
