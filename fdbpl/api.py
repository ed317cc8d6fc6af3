"""The library without a pipeline: features and names in, prompts and accuracies out.

from fdbpl import api

clip = api.load("ViT-B-32", "openai")
words = "a photo of a {}."
learned = api.learn(clip, names, student=f, teacher=t, teacher_vectors=tv, teacher_scale=100.0,
                    labels=y, anchors=api.template_vectors(clip, names, words))
decision = api.classifier(clip, learned[1], names, all_names, api.inference("fdbpl"),
                          template=words, teacher_vectors=all_tv)  # of seed 1
print(api.accuracy(test_features, test_labels, decision, among=range(len(all_names))))

`anchors`, and the teacher's class vectors at the end, are what "fdbpl" builds its bridge with.
`learn` also takes `areas`, by which it weighs regions; `device`, where to learn; and an `Interim`,
from which a long training goes on if it was interrupted.
"""

from collections.abc import Mapping
from typing import Any, Literal

from fdbpl.clip.model import ClipModel, load_model
from fdbpl.evaluation.accuracy import accuracy, base_to_new, harmonic_mean
from fdbpl.methods.decision import Decision
from fdbpl.methods.inference import Inference
from fdbpl.methods.table import trained_method
from fdbpl.params import ModelParams
from fdbpl.training.interim import Interim
from fdbpl.training.learning import class_vectors, classifier, learn, template_vectors

__all__ = [
    "Decision",
    "Interim",
    "accuracy",
    "base_to_new",
    "class_vectors",
    "classifier",
    "harmonic_mean",
    "inference",
    "learn",
    "load",
    "template_vectors",
]


def load(
    architecture: str, weights: str, activation: Literal["gelu", "quickgelu"] | None = None
) -> ClipModel:
    """Load a CLIP model: an architecture of open_clip, and "tiny", a pretrained tag or a file.

    Raises:
        UserError: see `fdbpl.clip.model.load_model`.
    """
    params = ModelParams(architecture=architecture, weights=weights, activation=activation)
    return load_model(params, "model")


def inference(method: str, options: Mapping[str, Any] | None = None) -> Inference:
    """Return how a trained method's contexts classify; `classifier` takes it.

    Args:
        method: as given to `learn`.
        options: as given to `learn`.

    Raises:
        UserError: an unknown method or option.
    """
    return trained_method(method, options).inference
