"""Prompts that another program learned, brought in as if a method had learned them here."""

from pathlib import Path
from typing import Any

from fdbpl.clip.checkpoint import read_checkpoint
from fdbpl.clip.model import ClipModel
from fdbpl.methods.registry import IMPORTED, METHODS
from fdbpl.regions.plan import Plan
from fdbpl.system.errors import UserError
from fdbpl.training.learning import Learned


def bring_in(checkpoint: str | None, plan: Plan, clip: ClipModel) -> tuple[Learned, dict[str, Any]]:
    """Return the contexts of one seed, without a history, and what is known of them.

    Args:
        checkpoint: path of a checkpoint.
        plan: of the dataset it was learned on.
        clip: the student.

    Raises:
        UserError: no path is given, or see `read_checkpoint`.
    """
    if checkpoint is None:
        raise UserError(
            f"methods has {IMPORTED!r}, and section imported no checkpoint of {plan.name}. Name it "
            "in params.yaml."
        )
    found = read_checkpoint(Path(checkpoint), clip, plan.class_names)
    about = {
        "learned_classes": [],  # the checkpoint does not name them
        "checkpoint": {"sha256": found.digest, "classes": found.classes},
    }
    arrays = {"positive": found.context.numpy()}
    return Learned(METHODS[IMPORTED], (), arrays), about


def doubts(about: dict[str, Any], seed: int, learned: int) -> list[str]:
    """Say it when a checkpoint was learned on another number of classes than was planned."""
    classes = about["checkpoint"]["classes"]
    if classes in (None, learned):
        return []
    return [f"  {IMPORTED}, seed {seed}: learned on {classes} classes, the plan has {learned}"]
