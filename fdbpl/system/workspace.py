"""Where a run keeps what: the one place that names folders and files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fdbpl.system.errors import UserError

Split = Literal["halves", "all", "test-only"]
"""What a plan learns from: the base half of the classes, all of them, or nothing."""

_OF_TRANSFER = {
    "prepare-crops": "prepare-transfer",
    "cache-teacher": "cache-transfer",
    "train-student": "train-transfer",
}
"""The stages that make a transfer's parts, by those that make the same for base-to-new."""


@dataclass(frozen=True)
class Workspace:
    """A folder with plans, caches, prompts and metrics: the project under DVC, else runs/NAME."""

    root: Path

    def plan(self, dataset: str) -> Path:
        """Folder of a dataset's plan."""
        return self.root / "plans" / dataset

    def cache(self, dataset: str, role: str) -> Path:
        """Folder of the teacher's or the student's cache of a dataset."""
        return self.root / "caches" / dataset / role

    def prompts_of(self, dataset: str) -> Path:
        """Folder of everything learned on a dataset."""
        return self.root / "prompts" / dataset

    def learned(self, dataset: str, method: str, seed: int, kind: str) -> Path:
        """File of one training: its "prompts", its "classifier" or its "history"."""
        return self.prompts_of(dataset) / learned_name(method, seed, kind)

    @property
    def trainings(self) -> Path:
        """Folder of all that was ever learned here, each under its training key."""
        return self.root / ".fdbpl" / "trainings"

    def metrics(self, dataset: str) -> Path:
        """File of a dataset's accuracies."""
        return self.root / "metrics" / "datasets" / f"{dataset}.json"

    @property
    def source(self) -> "Workspace":
        """Workspace of the transfer's source: plan, caches and prompts over all its classes."""
        return Workspace(self.root / "transfer" / "source")

    @property
    def targets(self) -> "Workspace":
        """Workspace of the transfer's targets that no other stage plans and caches."""
        return Workspace(self.root / "transfer" / "targets")

    @property
    def split(self) -> Split:
        """What plans here learn from: a transfer's have folders of their own."""
        parts = self.root.parts[-2:]
        if parts == ("transfer", "source"):
            return "all"
        return "test-only" if parts == ("transfer", "targets") else "halves"

    def command(self, stage: str, dataset: str | None = None, *, force: bool = False) -> str:
        """Return the command that runs a stage here: DVC's in the project's folder, else by hand.

        In a part of a transfer it is the transfer's stage, which takes no dataset. With `force`
        DVC runs that stage whether or not it knows why.
        """
        home = self.root
        if self.split != "halves":
            home, stage, dataset = home.parents[1], _OF_TRANSFER[stage], None
        if home == Path():
            options = "--force --single-item " if force else ""
            return f"dvc repro {options}{stage}" + (f"@{dataset}" if dataset else "")
        words = ["fdbpl", stage, *([dataset] if dataset else [])]
        if home.parent.name == "runs" and home.name != "default":
            words += ["--run", home.name]
        return " ".join(words)

    @property
    def transferred(self) -> Path:
        """File of the transfer's accuracies."""
        return self.root / "metrics" / "transfer.json"

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
