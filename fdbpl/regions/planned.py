"""The plan of a dataset, sure that it is the one that the parameters ask for.

DVC sees to that; by hand a plan may be older than the parameters.
"""

import json
from typing import Any

from fdbpl.errors import UserError
from fdbpl.files import canonical_json
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
    difference = outdated(plan, params)
    if difference is not None:
        command = work.command("prepare-crops", dataset)
        raise UserError(f"{work.plan(dataset)}: {difference}. Run {command} again.")
    return plan


def outdated(plan: Plan, params: Params) -> str | None:
    """Say in what a plan is not of these parameters, if it is not.

    A plan of test images alone has neither seeds nor regions, and serves whatever they are.
    """
    if not plan.policy:
        return None
    for seed in params.seeds:
        if seed not in plan.shots:
            return f"planned for seeds {', '.join(map(str, plan.shots))}, wanted seed {seed} too"
    for key, wanted in json.loads(canonical_json(policy_of(params.regions))).items():
        found = plan.policy.get(key)
        if found != wanted:
            return f"planned with regions.{key} {found}, wanted {wanted}"
    return None


def policy_of(regions: RegionParams) -> dict[str, Any]:
    """Return what a plan says of the law that its regions were drawn by."""
    return {"seed": regions.seed, "per_image": regions.per_image, **law_of(regions).fields()}


def law_of(regions: RegionParams) -> CropPolicy:
    """Return the law that regions are drawn by."""
    return CropPolicy(regions.scale, regions.ratio, regions.flip)
