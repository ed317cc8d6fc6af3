"""The plan of a dataset, sure that it is the one that the parameters ask for.

DVC sees to that; by hand a plan may be older than the parameters.
"""

from functools import partial

from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import of_plan, require_made_with
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace


def load_planned(params: Params, dataset: str, work: Workspace) -> Plan:
    """Load the plan of a dataset.

    Raises:
        UserError: there is none, or it is damaged, of another dataset or of other parameters.
    """
    plan, path = Plan.load(work.plan(dataset)), work.plan(dataset)
    command = partial(work.command, "prepare-crops", dataset)
    if plan.name != dataset:
        raise UserError(
            f"{path}: of dataset {plan.name!r}, wanted {dataset!r}. Run {command()} again."
        )
    require_made_with(path, plan.made_with, of_plan(params, dataset), command)
    return plan
