"""Stage 2: the frozen knowledge of both models about every region, encoded once."""

from functools import partial

from fdbpl.cache import RegionStore, build_cache
from fdbpl.cache.pixels import build_pixels
from fdbpl.cache.workers import Crew, Pool
from fdbpl.classify.decision import Role
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import load_model
from fdbpl.clip.projection import shows_hidden
from fdbpl.data.registry import open_dataset
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import model_of, reads_pixels, roles_of
from fdbpl.stages.planned import load_planned
from fdbpl.stages.texts import texts_of, without_room
from fdbpl.stages.workers import OpenPool, local_pool
from fdbpl.system.device import choose_device
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
    folder = open_dataset(plan.name, params.data).folder
    store = RegionStore(params.cache.store)
    lines = []
    for role in roles_of(params):
        encoder = image_encoder(params, role)
        clip = encoder.clip
        if role == "student":
            for method in params.chosen_methods:
                method.require_student(clip)
        clip.move_text(choose_device(params.device))
        left_out = without_room(plan, clip) if role == "student" else []
        lines += [f"{plan.name}: no room in the ensemble for {one!r}" for one in left_out]
        with progress(f"{plan.name}: encoding, {role}") as report:
            counts = build_cache(
                plan,
                folder,
                encoder,
                store,
                work.cache(plan.name, role),
                kind=role,
                model={"source": clip.source, "logit_scale": clip.logit_scale},
                payload=params.cache.payload,
                text=texts_of(plan, clip, role),
                progress=report,
                crew=None if pool is None else Crew(pool, partial(image_encoder, params, role)),
            )
        lines.append(f"{plan.name}: {role} encoded {counts.encoded:,}, reused {counts.reused:,}")
        lines += [f"  damaged in the store, counted as absent: {one}" for one in counts.faults]
        if role == "student" and reads_pixels(params):
            with progress(f"{plan.name}: cutting") as report:
                cut = build_pixels(
                    plan,
                    folder,
                    encoder.pixels_of,
                    work.cache(plan.name, "pixels"),
                    progress=report,
                )
            lines.append(f"{plan.name}: pixels cut {cut.encoded:,}, reused {cut.reused:,}")
    work.before_writing()  # a cache says of which plan and models it is, and may stand
    return lines


def image_encoder(params: Params, role: Role) -> ImageEncoder:
    """Load a role's model and return its image tower, as the parameters run it.

    A student that shows no features before its last projection is encoded for "hidden" as it is.

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
    )
