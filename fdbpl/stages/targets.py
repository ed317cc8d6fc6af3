"""Where the parts of a transfer lie: what base-to-new has made is used, not made again."""

from fdbpl.settings.params import Params, TransferParams
from fdbpl.system.workspace import Workspace

NOT_WANTED = "transfer: null in params.yaml, nothing to do"


def target_workspace(params: Params, target: str, work: Workspace) -> Workspace:
    """Return where a target's plan and caches lie: where base-to-new has them, if it has."""
    return work if target in params.datasets else work.targets


def own_targets(params: Params, transfer: TransferParams) -> list[str]:
    """Return the targets that base-to-new has not: the transfer's stages prepare them."""
    return [target for target in transfer.targets if target not in params.datasets]
