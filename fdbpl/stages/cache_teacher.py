"""Stage 2: the frozen knowledge of both models about every region, encoded once."""

from functools import partial

from fdbpl.cache import RegionStore, build_cache
from fdbpl.cache.pixels import Cropper, build_pixels
from fdbpl.cache.workers import Crew, Pool
from fdbpl.classify.decision import CachedRole
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.projection import shows_hidden
from fdbpl.data.registry import open_dataset
from fdbpl.methods.method import Method
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import layers_of, model_of, name_of, reads_pixels, roles_of
from fdbpl.stages.planned import load_planned
from fdbpl.stages.texts import texts_of, without_room
from fdbpl.stages.workers import OpenPool, local_pool
from fdbpl.system.device import choose_device
from fdbpl.system.errors import UserError
from fdbpl.system.progress import progress
from fdbpl.system.workspace import Workspace


def cache_teacher(
    params: Params, dataset: str, work: Workspace, open_pool: OpenPool = local_pool
) -> list[str]:
    """Write the caches of a dataset, one a role; return what to tell the user.

    Only regions that the store has never seen under a model are encoded, by the workers that
    `open_pool` makes of the parameters.

    Raises:
        UserError: a plan of other parameters, weights that do not fit, an image that changed or
            vanished since the plan.
    """
    with open_pool(params.workers) as pool:
        return _cached(params, load_planned(params, dataset, work), work, pool)


def _cached(params: Params, plan: Plan, work: Workspace, pool: Pool | None) -> list[str]:
    lines, student = [], image_encoder(params, "student")
    for method in params.chosen_methods:
        _require(method, student.clip)
    lines += [
        f"{plan.name}: no room in the ensemble for {one!r}"
        for one in without_room(plan, student.clip)
    ]
    lines += _encoded(params, plan, work, pool, student, "student")
    if reads_pixels(params):
        lines += _cut(params, plan, work, student.pixels_of)
    for layer in layers_of(params):
        encoder = image_encoder(params, "student", layer)
        lines += _encoded(params, plan, work, pool, encoder, "student", layer)
    for role in roles_of(params)[1:]:
        lines += _encoded(params, plan, work, pool, image_encoder(params, role), role)
    work.before_writing()  # a cache says of which plan and models it is, and may stand
    return lines


def _require(method: Method, student: ClipModel) -> None:
    try:
        method.require_student(student)
    except UserError as error:
        raise UserError(f"methods: {method.name}: {error}") from None


def _encoded(
    params: Params,
    plan: Plan,
    work: Workspace,
    pool: Pool | None,
    encoder: ImageEncoder,
    role: CachedRole,
    layer: int = 0,
) -> list[str]:
    """Write the cache of a role's features, or of what a layer is given; return what to tell."""
    clip = encoder.clip
    clip.move_text(choose_device(params.device))
    name = name_of(layer) if layer else role
    with progress(f"{plan.name}: encoding, {name}") as report:
        counts = build_cache(
            plan,
            open_dataset(plan.name, params.data).folder,
            encoder,
            RegionStore(params.cache.store),
            work.cache(plan.name, name),
            kind="activations" if layer else role,
            model={"source": clip.source, "logit_scale": clip.logit_scale},
            payload=params.cache.payload,
            text={} if layer else texts_of(plan, clip, role),
            progress=report,
            crew=None if pool is None else Crew(pool, partial(image_encoder, params, role, layer)),
        )
    return [
        f"{plan.name}: {name} encoded {counts.encoded:,}, reused {counts.reused:,}",
        *(f"  damaged in the store, counted as absent: {one}" for one in counts.faults),
    ]


def _cut(params: Params, plan: Plan, work: Workspace, cropper: Cropper) -> list[str]:
    """Write the cache of pixels; return what to tell the user."""
    with progress(f"{plan.name}: cutting") as report:
        cut = build_pixels(
            plan,
            open_dataset(plan.name, params.data).folder,
            cropper,
            work.cache(plan.name, "pixels"),
            progress=report,
        )
    return [f"{plan.name}: pixels cut {cut.encoded:,}, reused {cut.reused:,}"]


def image_encoder(params: Params, role: CachedRole, layer: int = 0) -> ImageEncoder:
    """Load a role's model and return its image tower, as the parameters run it.

    A student that shows no features before its last projection is encoded for "hidden" as it is.

    Args:
        params: of the models.
        role: whose tower it is.
        layer: before which the tower ends; 0 for the whole of it.

    Raises:
        UserError: weights that do not fit, or a device that is not there.
    """
    model = model_of(params, role)
    clip = load_model(model, "teacher" if role == "teacher" else "student")
    return ImageEncoder(
        clip,
        precision=model.precision,
        batch_size=params.cache.batch,
        device=choose_device(params.device),
        before_projection=role == "hidden" and shows_hidden(clip),
        before_layer=layer,
    )
