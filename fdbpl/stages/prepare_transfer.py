"""Transfer, stage 1: plans of the source and of targets seen nowhere else. No model, no torch."""

from fdbpl.settings.params import Params
from fdbpl.stages.prepare_crops import save_plan
from fdbpl.stages.targets import NOT_WANTED, own_targets
from fdbpl.system.workspace import Workspace


def prepare_transfer(params: Params, work: Workspace) -> list[str]:
    """Plan the source with shots of all its classes, and the tests of targets without a plan.

    Raises:
        UserError: see `open_dataset` and `make_plan`.
    """
    for part in (work.source, work.targets):  # outputs are there even when there is nothing to do
        (part.root / "plans").mkdir(parents=True, exist_ok=True)
    if params.transfer is None:
        return [NOT_WANTED]
    lines = save_plan(params, params.transfer.source, work.source)
    for target in own_targets(params, params.transfer):
        lines += save_plan(params, target, work.targets)
    return lines
