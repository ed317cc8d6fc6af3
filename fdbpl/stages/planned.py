"""The plan of a dataset, sure that it is the one that the parameters ask for.

DVC sees to that; by hand a plan may be older than the parameters.
"""

from functools import partial

from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import of_plan, require_made_with
from fdbpl.system.workspace import Workspace


def load_planned(params: Params, dataset: str, work: Workspace) -> Plan:
    """Load the plan of a dataset.

    Raises:
        UserError: there is none, or it is damaged, or of other parameters.
    """
    plan = Plan.load(work.plan(dataset))
    require_made_with(
        work.plan(dataset),
        plan.made_with,
        of_plan(params, dataset),
        partial(work.command, "prepare-crops", dataset),
    )
    return plan
