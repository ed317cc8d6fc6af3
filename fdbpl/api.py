"""The library without a pipeline: images or features and names in, prompts and accuracies out.

The README shows it from end to end. `learn` also takes `areas`, by which it weighs regions;
`device`, where to learn; and a `TrainingStore`, in which what was learned is found again.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fdbpl.classify.decision import Decision, ImagePrompts
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.prompted_encoder import PromptedEncoder
from fdbpl.clip.vectors import class_vectors, template_vectors
from fdbpl.data.images import Pictures, listed, opened
from fdbpl.evaluation.accuracy import accuracy, base_to_new, harmonic_mean
from fdbpl.system.device import require_device
from fdbpl.system.errors import UserError
from fdbpl.system.section import explain
from fdbpl.training.learning import classifier, learn
from fdbpl.training.store import TrainingStore

__all__ = [
    "Decision",
    "TrainingStore",
    "accuracy",
    "base_to_new",
    "class_vectors",
    "classifier",
    "harmonic_mean",
    "image_features",
    "image_pixels",
    "learn",
    "load",
    "template_vectors",
]

AT_ONCE = 64  # images that are encoded together


def load(
    architecture: str, weights: str, activation: Literal["gelu", "quickgelu"] | None = None
) -> ClipModel:
    """Load a CLIP model: an architecture of open_clip; "small", "tiny", a tag or a file.

    Raises:
        UserError: an argument that is not allowed, or see `fdbpl.clip.model.load_model`.
    """
    try:
        params = ModelParams(architecture=architecture, weights=weights, activation=activation)
    except ValidationError as error:
        raise UserError(explain(error, ModelParams, above=["model"])) from None
    return load_model(params, "model")


def image_features(
    clip: ClipModel,
    images: Pictures,
    device: str = "cpu",
    *,
    before_projection: bool = False,
    prompts: ImagePrompts | None = None,
) -> NDArray[np.float32]:
    """Return the unit features (N, D) of whole images, as test images are encoded.

    Args:
        clip: whose image tower looks.
        images: N pictures, or one: paths of files, bytes of files, images of Pillow's, or arrays of
            bytes (H, W, 3).
        device: "cpu", "cuda" or "cuda:1": where to look. The image tower moves there.
        before_projection: return them before its last projection, (N, E), for methods that see
            "hidden".
        prompts: those of a decision that has `image_prompts`, under which it judges images.

    Raises:
        UserError: no image, one that cannot be read, a device that is not there, or a tower
            whose last projection cannot be left out.
    """
    pictures = _listed(images)
    require_device(device)
    batch = min(AT_ONCE, len(pictures))
    if prompts is not None:
        encode = PromptedEncoder(clip, prompts, device).__call__
    else:
        encode = ImageEncoder(
            clip,
            precision="fp32",
            batch_size=batch,
            device=device,
            before_projection=before_projection,
        ).encode
    parts = [pictures[start : start + batch] for start in range(0, len(pictures), batch)]
    views = ([clip.preprocessing.pixels(opened(one)) for one in part] for part in parts)
    return np.concatenate([encode(np.stack(part)) for part in views])


def image_pixels(clip: ClipModel, images: Pictures) -> NDArray[np.uint8]:
    """Return the pixels (N, 3, S, S) of whole images, for methods that prompt the image tower.

    Args:
        clip: whose image tower they are for.
        images: as of `image_features`.

    Raises:
        UserError: no image, or one that cannot be read.
    """
    return np.stack([clip.preprocessing.view(opened(one)) for one in _listed(images)])


def _listed(images: Pictures) -> list[Any]:
    pictures = listed(images)
    if not pictures:
        raise UserError("images is empty, wanted at least one picture.")
    return pictures
