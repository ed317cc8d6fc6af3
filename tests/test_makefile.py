"""What make finds out before it sets anything up."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an environment that is ready, and was made there."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "fdbpl").write_text(f"#!{tmp_path}/.venv/bin/python\nimport x\n")
    (tmp_path / ".venv" / "ready").touch()
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_an_environment_is_made_anew_where_it_was_moved(project: Path) -> None:
    assert "Nothing to be done" in make(project, "-n", "setup").stdout
    moved = project.rename(project.with_name(f"{project.name}-moved"))
    assert "-m venv --clear .venv" in make(moved, "-n", "setup").stdout
    (moved / ".venv" / "bin" / "fdbpl").unlink()
    (moved / ".venv" / "ready").unlink()
    done = make(moved, "-n", "setup").stdout
    assert "-m venv" in done
    assert "--clear" not in done


def test_a_folder_without_git_is_told_before_anything_is_set_up(project: Path) -> None:
    (project / ".venv" / "ready").unlink()
    done = make(project, "demo")
    assert done.returncode == 2
    assert "DVC needs a git repository" in done.stderr + done.stdout
    assert "Say: git init" in done.stderr + done.stdout
    assert "Set-up" not in done.stdout
