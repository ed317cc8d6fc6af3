"""Transfer, stage 3: every method's contexts, learned on all classes of the source."""

from fdbpl.settings.params import Params
from fdbpl.stages.targets import NOT_WANTED
from fdbpl.system.workspace import Workspace, require_folder


def train_transfer(params: Params, work: Workspace) -> list[str]:
    """Learn on all classes of the source; write prompts, classifiers and histories.

    Raises:
        UserError: see `learn_prompts`.
    """
    (work.source.root / "prompts").mkdir(parents=True, exist_ok=True)
    if params.transfer is None:
        return [NOT_WANTED]
    from fdbpl.stages.train_student import learn_prompts  # loads torch

    source = params.transfer.source
    require_folder(work.source.plan(source), work.command("prepare-transfer"))
    require_folder(work.source.cache(source, "student"), work.command("cache-transfer"))
    return learn_prompts(params, source, work.source, params.imported.transfer)
