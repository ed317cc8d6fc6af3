"""What a training left, sure that it is of the plan and of the parameters.

DVC sees to that; by hand it may be older than either.
"""

from functools import partial

from fdbpl.classify.artifact import Artifact
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import of_training, require_made_with
from fdbpl.stages.tasks import Task
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace


def open_learned(
    kind: str, params: Params, task: Task, place: Workspace, method: str, seed: int
) -> Artifact:
    """Load the "prompts" or the "classifier" that a method learned of a task under a seed.

    Raises:
        UserError: there is none, it is damaged, or was learned under another plan, from other
            models, by another optimiser or with other options.
    """
    plan = task.plan
    path = place.learned(plan.name, task.folder, method, seed, kind)
    command = partial(place.command, "train-student", plan.name)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run {command()} first.")
    learned = Artifact.load(path, kind)
    wanted = of_training(params, task, method, seed)
    require_made_with(path, learned.about.get("made_with", {}), wanted, command)
    if learned.about["plan"] != plan.digest:
        raise UserError(
            f"{path}: learned under plan {learned.about['plan'][:12]}, wanted "
            f"{plan.digest[:12]}. Run {command()} again."
        )
    return learned
