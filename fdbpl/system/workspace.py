"""Where a run keeps what: the one place that names folders and files."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fdbpl.system.errors import UserError


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Workspace:
    """A folder with plans, caches, prompts and metrics: the project under DVC, else runs/NAME.

    Attributes:
        root: the folder.
        before_writing: what stages call before what they made takes its place; it raises UserError
            where that would not be right any more (`fdbpl.stages.started`).
    """

    root: Path
    before_writing: Callable[[], None] = field(default=nothing, compare=False, repr=False)

    def plan(self, dataset: str) -> Path:
        """Folder of a dataset's plan."""
        return self.root / "plans" / dataset

    def cache(self, dataset: str, role: str) -> Path:
        """Folder of the teacher's or the student's cache of a dataset."""
        return self.root / "caches" / dataset / role

    def prompts_of(self, dataset: str) -> Path:
        """Folder of everything learned on a dataset."""
        return self.root / "prompts" / dataset

    def learned(self, dataset: str, task: str, method: str, seed: int, kind: str) -> Path:
        """File of one training: its "prompts", its "classifier" or its "history".

        `task` is the folder of what one protocol learns: `fdbpl.stages.tasks`.
        """
        return self.prompts_of(dataset) / task / learned_name(method, seed, kind)

    @property
    def trainings(self) -> Path:
        """Folder of all that was ever learned here, each under its training key."""
        return self.root / ".fdbpl" / "trainings"

    def metrics(self, dataset: str) -> Path:
        """File of a dataset's accuracies."""
        return self.root / "metrics" / "datasets" / f"{dataset}.json"

    def command(self, stage: str, dataset: str | None = None, *, force: bool | None = None) -> str:
        """Return the command that runs a stage here: DVC's in the project's folder, else by hand.

        With `force` DVC runs that stage whether or not it knows why. By default it does so where
        a stage of DVC's own asks: what that finds wrong, DVC takes for up to date.
        """
        if self.root == Path():
            forced = "DVC_STAGE" in os.environ if force is None else force
            options = "--force --single-item " if forced else ""
            return f"dvc repro {options}{stage}" + (f"@{dataset}" if dataset else "")
        words = ["fdbpl", stage, *([dataset] if dataset else [])]
        if self.root.parent.name == "runs" and self.root.name != "default":
            words += ["--run", self.root.name]
        return " ".join(words)

    def comparison(self, suffix: str) -> Path:
        """File of the comparison: json, md or png."""
        return self.root / "metrics" / f"compare.{suffix}"

    def ood(self, suffix: str) -> Path:
        """File of the measures of OOD detection: json, md or png."""
        return self.root / "metrics" / f"ood.{suffix}"


def learned_name(method: str, seed: int, kind: str) -> str:
    """Return the file name of one training's prompts, classifier or history."""
    suffix = "json" if kind == "history" else "safetensors"
    return f"{method}-seed{seed}.{kind}.{suffix}"


def require_folder(folder: Path, command: str) -> None:
    """Raise UserError, naming the command that makes it, when a stage's folder is not there."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Run {command} first.")
