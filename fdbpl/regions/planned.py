"""The plan of a dataset, sure that it is the one that the parameters ask for.

DVC sees to that; by hand a plan may be older than the parameters.
"""

from functools import partial
from typing import Any

from fdbpl.made_with import of_plan, require_made_with
from fdbpl.params import Params, RegionParams
from fdbpl.regions.boxes import CropPolicy
from fdbpl.regions.plan import Plan
from fdbpl.workspace import Workspace


def load_planned(params: Params, dataset: str, work: Workspace) -> Plan:
    """Load the plan of a dataset.

    Raises:
        UserError: there is none, or it is damaged, or of other parameters.
    """
    plan = Plan.load(work.plan(dataset))
    require_made_with(
        work.plan(dataset),
        plan.made_with,
        of_plan(params, dataset, work.split),
        partial(work.command, "prepare-crops", dataset),
    )
    return plan


def policy_of(regions: RegionParams) -> dict[str, Any]:
    """Return what a plan says of the law that its regions were drawn by."""
    return {"seed": regions.seed, "per_image": regions.per_image, **law_of(regions).fields()}


def law_of(regions: RegionParams) -> CropPolicy:
    """Return the law that regions are drawn by."""
    return CropPolicy(regions.scale, regions.ratio, regions.flip)
