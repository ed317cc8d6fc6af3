"""The library without a pipeline: features and names in, prompts and accuracies out.

from fdbpl import api

clip = api.load("ViT-B-32", "openai")
learned = api.learn(clip, names, student=f, teacher=t, teacher_vectors=tv,
                    teacher_scale=100.0, labels=y)
vectors = api.class_vectors(clip, learned[1].contexts, all_names)[0]  # of seed 1
print(api.accuracy(test_features, test_labels, vectors, among=range(len(all_names))))
"""

from typing import Literal

from fdbpl.clip.model import ClipModel, load_model
from fdbpl.evaluation import accuracy, base_to_new, harmonic_mean
from fdbpl.learning import class_vectors, learn, template_vectors
from fdbpl.params import ModelParams

__all__ = [
    "accuracy",
    "base_to_new",
    "class_vectors",
    "harmonic_mean",
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
