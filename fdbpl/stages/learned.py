"""What a training left, sure that it is of the plan and of the parameters.

DVC sees to that; by hand it may be older than either.
"""

from collections.abc import Mapping
from typing import Any

from fdbpl.artifact import Artifact
from fdbpl.errors import UserError
from fdbpl.methods.options import PRESETS, with_overrides
from fdbpl.params import Params
from fdbpl.regions.plan import Plan
from fdbpl.workspace import Workspace


def open_learned(
    kind: str, params: Params, plan: Plan, place: Workspace, method: str, seed: int
) -> Artifact:
    """Load the "prompts" or the "classifier" that a method learned under a seed.

    Raises:
        UserError: there is none, it is damaged, or was learned under another plan, by another
            optimiser or with other options.
    """
    path = place.learned(plan.name, method, seed, kind)
    command = place.command("train-student", plan.name)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run {command} first.")
    learned = Artifact.load(path, kind)
    if learned.about["plan"] != plan.digest:
        raise UserError(
            f"{path}: learned under plan {learned.about['plan'][:12]}, wanted "
            f"{plan.digest[:12]}. Run {command} again."
        )
    for section, wanted in (
        ("train", params.train.model_dump()),
        ("options", _options(params, method)),
    ):
        key = _differing(learned.about[section], wanted)
        if key is not None:
            name = "train" if section == "train" else f"objectives.{method}"
            raise UserError(
                f"{path}: learned with {name}.{key} {learned.about[section][key]}, wanted "
                f"{wanted[key]}. Run {command} again."
            )
    return learned


def _options(params: Params, method: str) -> dict[str, Any]:
    if method not in PRESETS:
        return {}
    return with_overrides(method, params.objectives.get(method, {})).model_dump()


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return the first key of both that has another value; files of imported prompts have none."""
    return next((key for key in found if key in wanted and found[key] != wanted[key]), None)
