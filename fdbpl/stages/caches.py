"""Opening the caches of a dataset, sure that they are the ones the parameters ask for."""

from typing import Any, Literal

from numpy.typing import NDArray

from fdbpl.cache.cache import Cache, open_cache
from fdbpl.cache.views import image_list_digest
from fdbpl.data.images import DECODER
from fdbpl.methods.decision import Decision
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import ModelParams, Params
from fdbpl.settings.weights import weights_source
from fdbpl.system.workspace import Workspace, require_folder

Role = Literal["teacher", "student"]

ZERO_SHOT = {
    "zero_shot": "template",
    "zero_shot_generic": "generic",
    "zero_shot_ensemble": "ensemble",
}
"""The text in the student's cache that each zero-shot method classifies by."""


def open_caches(params: Params, plan: Plan, work: Workspace) -> tuple[Cache, Cache]:
    """Open the teacher's and the student's cache of a plan.

    Raises:
        UserError: one is missing or damaged, or was made from another plan or by another model
            than the parameters name; the message says which field differs.
    """
    return open_role("teacher", params, plan, work), open_role("student", params, plan, work)


def untrained(method: str, teacher: Cache, student: Cache) -> tuple[NDArray[Any], Decision]:
    """Return the test images' features and the decision of an untrained method."""
    if method == "teacher":
        return teacher.features("test"), Decision(teacher.text("template"))
    return student.features("test"), Decision(student.text(ZERO_SHOT[method]))


def open_role(role: Role, params: Params, plan: Plan, work: Workspace) -> Cache:
    """Open one of them; see `open_caches`."""
    model: ModelParams = params.teacher if role == "teacher" else params.student
    encoder = {"architecture": model.architecture, "precision": model.precision}
    if model.activation is not None:
        encoder["activation"] = model.activation
    folder = work.cache(plan.name, role)
    require_folder(folder, work.command("cache-teacher", plan.name))
    return open_cache(
        folder,
        {
            "kind": role,
            "model": {"source": weights_source(model)},
            "encoder": encoder,
            "decoder": DECODER,
            "dataset": plan.name,
            "policy": dict(plan.policy),
            "payload": {"name": params.cache.payload},
            "images": image_list_digest(plan),
            "plan": plan.digest,
        },
    )
