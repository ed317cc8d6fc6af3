"""Opening the caches of a dataset, sure that they are the ones the parameters ask for."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fdbpl.cache.cache import Cache, open_cache
from fdbpl.cache.views import image_list_digest
from fdbpl.classify.decision import Role
from fdbpl.clip.params import ModelParams
from fdbpl.clip.weights import weights_source
from fdbpl.data.images import DECODER
from fdbpl.methods.method import Classes
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.system.workspace import Workspace, require_folder

if TYPE_CHECKING:
    from fdbpl.clip.model import ClipModel

TEXTS = ("template", "generic", "ensemble", "negative")
"""The hand-written prompts whose class features a student's cache has."""


def open_caches(params: Params, plan: Plan, work: Workspace) -> tuple[Cache, Cache]:
    """Open the teacher's and the student's cache of a plan.

    Raises:
        UserError: one is missing or damaged, or was made from another plan or by another model
            than the parameters name; the message says which field differs.
    """
    return open_role("teacher", params, plan, work), open_role("student", params, plan, work)


def known_classes(
    plan: Plan,
    teacher: Cache,
    student: Cache,
    clip: "ClipModel | None" = None,
    *,
    learned: Sequence[str] | None = None,
    same_domain: bool = True,
) -> Classes:
    """Return a plan's classes as both caches know them.

    Args:
        plan: of the classes.
        teacher: its cache.
        student: its cache.
        clip: the student, for methods that need its text tower.
        learned: the names learned from; by default those of this plan.
        same_domain: as `Classes` has it.
    """
    own = () if plan.vocabulary else plan.learned_names
    return Classes(
        names=plan.class_names,
        scale=student.manifest.identity.model["logit_scale"],
        learned=own if learned is None else learned,
        texts={name: student.text(name) for name in TEXTS},
        teacher=teacher.text("template"),
        encode=None if clip is None else partial(_encode, clip, plan.class_names),
        same_domain=same_domain,
    )


def _encode(clip: "ClipModel", names: Sequence[str], contexts: NDArray[Any]) -> NDArray[Any]:
    from fdbpl.training.learning import class_vectors  # loads torch

    return class_vectors(clip, contexts, names)


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
