"""What a training left, sure that it is of the plan and of the parameters.

DVC sees to that; by hand it may be older than either.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fdbpl.classify.artifact import Artifact
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import of_training, require_made_with
from fdbpl.stages.tasks import Task
from fdbpl.system.difference import difference, short
from fdbpl.system.errors import UserError
from fdbpl.system.sealed import unsealed_json
from fdbpl.system.workspace import Workspace


def open_learned(
    kind: str, params: Params, task: Task, place: Workspace, method: str, seed: int
) -> Artifact:
    """Load the "prompts" or the "classifier" that a method learned of a task under a seed.

    Raises:
        UserError: there is none, it is damaged or of another training, or was learned under
            another plan, from other models, by another optimiser or with other options.
    """
    plan, (path, command) = task.plan, _place(kind, task, place, method, seed)
    learned = load_learned(kind, task, place, method, seed)
    wanted = of_training(params, task, method, seed)
    require_made_with(path, learned.about.get("made_with", {}), wanted, command)
    if learned.about["plan"] != plan.digest:
        raise UserError(
            f"{path}: learned under plan {learned.about['plan'][:12]}, wanted "
            f"{plan.digest[:12]}. Run {command()} again."
        )
    return learned


def load_learned(kind: str, task: Task, place: Workspace, method: str, seed: int) -> Artifact:
    """Load what `open_learned` does, whatever the parameters are today.

    Raises:
        UserError: there is none, or it is damaged or of another training.
    """
    path, command = _place(kind, task, place, method, seed)
    learned = Artifact.load(path, kind, f"Run {command()} again.")
    _require_of(path, learned.about, task.identity(method, seed), command)
    return learned


def open_history(
    task: Task, place: Workspace, method: str, seed: int, prompts: str | None = None
) -> dict[str, Any]:
    """Read the history of one training, of the `prompts` of this digest if they are told.

    Raises:
        UserError: there is none, it is damaged, or of another training or other prompts.
    """
    path, command = _place("history", task, place, method, seed)
    try:
        history = unsealed_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}). Run {command()} again.") from None
    _require_of(path, history, task.identity(method, seed), command)
    if prompts is not None and history.get("prompts") != prompts:
        raise UserError(f"{path}: not of the prompts that were evaluated. Run {command()} again.")
    return history


def _place(
    kind: str, task: Task, place: Workspace, method: str, seed: int
) -> tuple[Path, Callable[..., str]]:
    """Return a file of one training, which is there, and what returns the command that makes it."""
    path = place.learned(task.plan.name, task.folder, method, seed, kind)
    command = partial(place.command, "train-student", task.plan.name)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run {command()} first.")
    return path, command


def _require_of(
    path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], command: Callable[..., str]
) -> None:
    differs = difference(found, wanted)
    if differs is not None:
        key, have, want = differs
        raise UserError(
            f"{path}: of {key} {short(have)}, wanted {short(want)}. Run {command()} again."
        )
