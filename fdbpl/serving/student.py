"""The student that a model was learned with: what needs more of it than its image tower's graph."""

from collections.abc import Mapping

from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.packaged import PACKAGED
from fdbpl.clip.params import ModelParams
from fdbpl.serving.model_folder import ModelFolder
from fdbpl.system.errors import UserError

_TAG = "tag "


def load_student(model: ModelFolder, student: ModelParams | None = None) -> ClipModel:
    """Load a model's student.

    Args:
        model: that was opened.
        student: its architecture and weights; needed where these were a file.

    Raises:
        UserError: its weights cannot be had, or are others than the model was learned with.
    """
    about = model.about
    params = student or params_of(model, about.student, about.weights, "student")
    clip = load_model(params, "student")
    _require_same(model, clip)
    return clip


def params_of(
    model: ModelFolder, identity: Mapping[str, str], weights: str, role: str
) -> ModelParams:
    """Return the parameters of a model's student or teacher by where its weights come from.

    Raises:
        UserError: they were a file.
    """
    if weights in PACKAGED:
        return ModelParams(architecture=identity["architecture"], weights=weights)
    if weights.startswith(_TAG):
        return ModelParams(
            architecture=identity["architecture"], weights=weights.removeprefix(_TAG)
        )
    raise UserError(
        f"{model.path}: the weights of its {role} are a {weights[:17]} that is not in the model. "
        f"Give it by --{role} {identity['architecture']}:FILE."
    )


def _require_same(model: ModelFolder, clip: ClipModel) -> None:
    for key, wanted in model.about.student.items():
        found = clip.identity.get(key)
        if found != wanted:
            raise UserError(
                f"{model.path}: learned with a student of {key} {wanted!r}, and the weights given "
                f"are of {found!r}. Give the same weights."
            )
