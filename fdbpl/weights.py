"""Where weights come from, said without a path of the machine and without loading them."""

import hashlib
from pathlib import Path

from fdbpl.params import ModelParams, TeacherParams

TINY = "tiny"


def weights_source(params: ModelParams) -> str:
    """Return "tiny", "tag NAME" for a pretrained tag, or "file SHA256" for a local file."""
    path = Path(params.weights)
    if params.weights == TINY:
        return TINY
    if not path.is_file():
        return f"tag {params.weights}"
    with path.open("rb") as file:
        return f"file {hashlib.file_digest(file, 'sha256').hexdigest()}"


def about_model(params: ModelParams) -> dict[str, str]:
    """Return what records say of a model: its architecture, and where its weights come from."""
    return {"architecture": params.architecture, "weights": weights_source(params)}


def about_teacher(params: TeacherParams) -> dict[str, str]:
    """Return what prompts say of who taught them: the model, and whose temperature was taken."""
    return {**about_model(params), "logit_scale": params.logit_scale}
