"""Transfer, stage 2: both models' knowledge of the source and of targets seen nowhere else."""

from fdbpl.settings.params import Params
from fdbpl.stages.targets import NOT_WANTED, own_targets
from fdbpl.stages.workers import OpenPool, local_pool
from fdbpl.system.workspace import Workspace, require_folder


def cache_transfer(params: Params, work: Workspace, open_pool: OpenPool = local_pool) -> list[str]:
    """Write the caches of what prepare-transfer planned; return what to tell the user.

    Raises:
        UserError: see `cache_teacher`.
    """
    for part in (work.source, work.targets):  # outputs are there even when there is nothing to do
        (part.root / "caches").mkdir(parents=True, exist_ok=True)
    if params.transfer is None:
        return [NOT_WANTED]
    from fdbpl.stages.cache_teacher import cache_all  # loads torch

    planned = [(params.transfer.source, work.source)]
    planned += [(target, work.targets) for target in own_targets(params, params.transfer)]
    for dataset, part in planned:
        require_folder(part.plan(dataset), work.command("prepare-transfer"))
    return cache_all(params, planned, open_pool)
