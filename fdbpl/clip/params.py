"""The sections `student` and `teacher` of the parameters."""

from typing import Literal

from fdbpl.system.errors import UserError
from fdbpl.system.section import PathText, Section


class ModelParams(Section):
    """One CLIP model: an open_clip architecture, and weights that are never random.

    `weights` is "small" or "tiny" for packaged models, a pretrained tag of open_clip, or a file.
    `activation` is needed for files that no registry knows.
    """

    architecture: str
    weights: PathText
    activation: Literal["gelu", "quickgelu"] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


def named_model(text: str, key: str) -> ModelParams:
    """Read ARCHITECTURE:WEIGHTS, perhaps followed by :ACTIVATION of a file.

    Args:
        text: such as `ViT-B-32:openai`, or `ViT-B-32:weights.safetensors:gelu`.
        key: what is read, for the error.

    Raises:
        UserError: it is something else.
    """
    parts = text.split(":")
    activation = parts.pop() if len(parts) > 2 and parts[-1] in ("gelu", "quickgelu") else None
    if len(parts) < 2 or not all(parts):
        raise UserError(
            f"{key} is {text!r}, wanted ARCHITECTURE:WEIGHTS, such as ViT-B-32:openai, or "
            "ViT-B-32:FILE:quickgelu with the activation that a file was trained with."
        )
    return ModelParams.model_validate(
        {"architecture": parts[0], "weights": ":".join(parts[1:]), "activation": activation}
    )


class StudentParams(ModelParams):
    """The student; `features` says whether training looks a region up or encodes it anew."""

    features: Literal["cached", "online"] = "cached"


class TeacherParams(ModelParams):
    """The teacher; `logit_scale` is the temperature its probabilities are taken at.

    `mode` says whether training looks a region up, or runs the teacher at every step.
    """

    logit_scale: Literal["own", "student"] = "own"
    mode: Literal["cached", "online"] = "cached"
