"""Opening the caches of a dataset, sure that they are the ones the parameters ask for."""

from collections.abc import Mapping, Sequence
from typing import Any

from fdbpl.cache.cache import Cache, open_cache
from fdbpl.cache.pixels import PAYLOAD, Cropper
from fdbpl.cache.views import image_list_digest
from fdbpl.classify.decision import CachedRole, Role
from fdbpl.clip.params import ModelParams
from fdbpl.clip.weights import weights_source
from fdbpl.data.images import DECODER
from fdbpl.methods.method import Classes
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.system.workspace import Workspace, require_folder

TEXTS = ("template", "generic", "ensemble", "negative")
"""The hand-written prompts whose class features a student's cache has."""


def roles_of(params: Params) -> tuple[CachedRole, ...]:
    """Return whose features are cached: both models', and what else a chosen method sees."""
    seen = {method.sees for method in params.chosen_methods}
    return ("student", "teacher", *(("hidden",) if "hidden" in seen else ()))


def reads_pixels(params: Params) -> bool:
    """Tell whether a chosen method reads the pixels of regions, which are cached for it then."""
    return any(method.image_layer == 0 for method in params.chosen_methods)


def layers_of(params: Params) -> list[int]:
    """Return the layers of the student's image tower whose input chosen methods read."""
    return sorted({one.image_layer for one in params.chosen_methods if one.image_layer})


def model_of(params: Params, role: Role) -> ModelParams:
    """Return the model whose features these are; the student's, before its projection or after."""
    return params.teacher if role == "teacher" else params.student


def open_caches(params: Params, plan: Plan, work: Workspace) -> dict[Role, Cache]:
    """Open every cache of a plan, by role.

    Raises:
        UserError: one is missing or damaged, or was made from another plan or by another model
            than the parameters name; the message says which field differs.
    """
    return {role: open_role(role, params, plan, work) for role in roles_of(params)}


def known_classes(
    plan: Plan,
    caches: Mapping[Role, Cache],
    *,
    learned: Sequence[str] = (),
    same_domain: bool = True,
) -> Classes:
    """Return a plan's classes as the caches of both models know them.

    Args:
        plan: of the classes.
        caches: of the plan, by role.
        learned: the names learned from.
        same_domain: as `Classes` has it.
    """
    student = caches["student"]
    return Classes(
        names=plan.class_names,
        scale=student.manifest.identity.model["logit_scale"],
        learned=learned,
        texts={name: student.text(name) for name in TEXTS},
        teacher=caches["teacher"].text("template"),
        same_domain=same_domain,
    )


def open_role(role: Role, params: Params, plan: Plan, work: Workspace) -> Cache:
    """Open one of them; see `open_caches`."""
    return _open(role, plan, work, _made(params, model_of(params, role)))


def open_activations(layer: int, params: Params, plan: Plan, work: Workspace) -> Cache:
    """Open the cache of what a layer of the student's image tower is given; see `open_caches`."""
    made = _made(params, params.student)
    encoder = {**made["encoder"], "output": f"before layer {layer}"}
    return _open("activations", plan, work, {**made, "encoder": encoder}, name_of(layer))


def name_of(layer: int) -> str:
    """Return the name of the folder of what a layer is given."""
    return f"activations-{layer}"


def _made(params: Params, model: ModelParams) -> dict[str, Any]:
    encoder = {"architecture": model.architecture, "precision": model.precision}
    if model.activation is not None:
        encoder["activation"] = model.activation
    return {
        "model": {"source": weights_source(model)},
        "encoder": encoder,
        "payload": {"name": params.cache.payload},
    }


def open_pixels(plan: Plan, work: Workspace, cropper: Cropper) -> Cache:
    """Open the cache of the pixels that `cropper` cuts of a plan's regions; see `open_caches`."""
    made = {"encoder": dict(cropper.of_views), "payload": PAYLOAD}
    return _open("pixels", plan, work, made)


def _open(
    kind: str, plan: Plan, work: Workspace, made: Mapping[str, Any], name: str | None = None
) -> Cache:
    folder = work.cache(plan.name, name or kind)
    require_folder(folder, work.command("cache-teacher", plan.name))
    wanted = {
        "kind": kind,
        **made,
        "decoder": DECODER,
        "dataset": plan.name,
        "policy": dict(plan.policy),
        "images": image_list_digest(plan),
        "plan": plan.digest,
    }
    return open_cache(folder, wanted)
