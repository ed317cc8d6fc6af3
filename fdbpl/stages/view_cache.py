"""Looking at a cache: some of its regions as pictures, and what its model makes of each."""

import io
from pathlib import Path

import numpy as np

from fdbpl.cache.cache import Cache
from fdbpl.data.dataset import UNKNOWN
from fdbpl.data.images import decode
from fdbpl.data.params import DataParams
from fdbpl.data.registry import open_dataset
from fdbpl.evaluation.logits import informativeness
from fdbpl.regions.plan import Plan
from fdbpl.reporting import region_view
from fdbpl.reporting.region_view import TileCaption
from fdbpl.stages.view_regions import class_of, guesses
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole
from fdbpl.system.workspace import Workspace


def view_cache(
    cache: Cache, data: DataParams, url: str, plan_folder: Path | None, count: int, out: Path
) -> str:
    """Draw `count` regions, evenly spread over the cache, into the PNG `out`; say what was done.

    Args:
        cache: an open one.
        data: say where the dataset's images are.
        url: of the cache, beside which its plan is looked for.
        plan_folder: where the plan is instead.
        count: at least 1; of fewer regions, all are drawn.
        out: the file.

    Raises:
        UserError: `out` is no PNG's name; features that no class vectors go with; no plan, or one
            of another cache; no regions; or an image is missing or changed.
    """
    region_view.require_png(out)
    identity = cache.manifest.identity
    if "text/template" not in cache.manifest.tables:
        raise UserError(
            f"{url}: a cache of kind {identity.kind}, which has no class vectors to judge regions "
            "by. Look at the student's cache beside it."
        )
    plan = Plan.load(_plan_folder(url, identity.dataset) if plan_folder is None else plan_folder)
    if plan.digest != identity.plan:
        raise UserError(
            f"{url}: this cache is of another plan: {identity.plan[:12]}, the plan found is "
            f"{plan.digest[:12]}. Say --plan, or build the cache again."
        )
    rows = np.linspace(0, len(plan.regions) - 1, min(count, len(plan.regions)))
    places = rows.round().astype(np.int64)
    if not len(places):
        raise UserError(f"{url}: a cache without regions of training images: nothing to draw.")
    seen = sorted(set(plan.images["label"].tolist()) - {UNKNOWN})
    base = seen or list(range(len(plan.class_names)))
    features = cache.features("train", places).astype(np.float64)
    logits = identity.model["logit_scale"] * features @ cache.text("template")[base].T
    best = guesses(logits, [plan.class_names[label] for label in base])
    folder = open_dataset(identity.dataset, data).folder
    tiles = []
    for region, w, likeliest in zip(
        plan.regions[places], informativeness(logits), best, strict=True
    ):
        row = int(region["image"])
        image = decode(folder / plan.paths[row], plan.images["hash"][row].tobytes())
        left, top, right, bottom = region["box"].tolist()
        shown = region_view.seen(image, (left, top, right, bottom), bool(region["flip"]))
        tiles.append((shown, TileCaption(class_of(plan, row), float(w), likeliest)))
    file = io.BytesIO()
    title = (
        f"{identity.dataset}: {len(tiles)} of {len(plan.regions):,} regions, as the "
        f"{identity.kind} {identity.encoder['architecture']} sees them"
    )
    region_view.draw_sheet(title, tiles, file)
    write_whole(out, file.getvalue())
    return f"{len(tiles)} regions drawn: {out}"


def _plan_folder(url: str, dataset: str) -> Path:
    """Return where the plan of the cache at `url` is in a workspace: plans/NAME by caches/NAME."""
    folder = Path(url.removeprefix("file://")).absolute()
    if "://" in url.removeprefix("file://") or folder.parts[-3:-1] != ("caches", dataset):
        raise UserError(
            f"{url}: not at caches/{dataset}/ROLE, so where its plan is cannot be told. Say --plan."
        )
    return Workspace(folder.parents[2]).plan(dataset)
