"""The sections `student` and `teacher` of the parameters."""

from typing import Literal

from fdbpl.system.section import Section


class ModelParams(Section):
    """One CLIP model: an open_clip architecture, and weights that are never random.

    `weights` is "small" or "tiny" for packaged models, a pretrained tag of open_clip, or a file.
    `activation` is needed for files that no registry knows.
    """

    architecture: str
    weights: str
    activation: Literal["gelu", "quickgelu"] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


class StudentParams(ModelParams):
    """The student; `features` says whether training looks a region up or encodes it anew."""

    features: Literal["cached", "online"] = "cached"


class TeacherParams(ModelParams):
    """The teacher; `logit_scale` is the temperature its probabilities are taken at.

    `mode` says whether training looks a region up, or runs the teacher at every step.
    """

    logit_scale: Literal["own", "student"] = "own"
    mode: Literal["cached", "online"] = "cached"
