"""A project of a user: parameters, a small dataset and weights, worked in by the command line."""

from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result
from conftest import draw_folder
from safetensors.torch import save_file

from fdbpl.cli import main

STAGES = ("prepare-crops", "cache-teacher", "train-student", "evaluate")
METHODS = ["zero_shot", "teacher", "coop", "fdbpl"]


class Project:
    """A folder with parameters, a dataset and weights, worked in by the command line."""

    def __init__(self, folder: Path, architecture: str, state: dict[str, Any]):
        self.folder = folder
        draw_folder(folder / "photos", {"ant": (3, 2), "bee": (3, 2), "cat": (2, 1), "dog": (2, 1)})
        save_file(state, folder / "weights.safetensors")
        model = {"architecture": architecture, "weights": "weights.safetensors"}
        self.params: dict[str, Any] = {
            "datasets": ["mine"],
            "protocols": ["base-to-new"],
            "methods": METHODS,
            "seeds": [1, 2],
            "shots": 2,
            "data": {"own": {"mine": {"folder": "photos"}}},
            "regions": {"per_image": 2},
            "student": {**model, "activation": "gelu"},
            "teacher": {**model, "activation": "quickgelu"},
            "train": {"epochs": 2, "batch": 2, "lr": 0.1},
        }
        self.change()

    def change(self, **changes: Any) -> None:
        for key, value in changes.items():
            old = self.params.get(key)
            both = isinstance(value, dict) and isinstance(old, dict)
            self.params[key] = {**old, **value} if both else value
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params))

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(main, list(words))

    def all_stages(self) -> list[str]:
        said = []
        for words in [*((stage, "mine") for stage in STAGES), ("compare",)]:
            result = self(*words)
            assert result.exit_code == 0, result.output
            said.append(result.stdout)
        return said

    def outputs(self) -> dict[str, bytes]:
        runs = self.folder / "runs"
        return {str(p.relative_to(runs)): p.read_bytes() for p in runs.rglob("*") if p.is_file()}

    def fails(self, *words: str) -> str:
        """Run a command that must end in one line and exit code 2, and touch nothing."""
        before = self.outputs()
        result = self(*words)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1, result.stderr
        assert "Traceback" not in result.stderr
        assert self.outputs() == before
        return result.stderr
