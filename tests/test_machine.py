import platform
import subprocess
from pathlib import Path

import pytest

from fdbpl.system.machine import commit, git, machine


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("code.py", "notes.md"):
        Path(name).write_text("old\n")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    return tmp_path


def test_a_commit_and_whether_the_files_are_its_own(repository: Path) -> None:
    first = git("rev-parse", "HEAD")[:12]
    assert commit() == first
    Path("notes.md").write_text("new\n")
    assert commit() == f"{first} with changes"
    assert commit("code.py") == first
    Path("code.py").write_text("new\n")
    assert commit("code.py") == f"{first} with changes"


def test_no_repository_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == ""


def test_the_machine_without_its_name_or_a_path() -> None:
    said = list(machine())
    assert said[0].endswith("cores")
    assert f"Python {platform.python_version()}" in said
    assert any(line.startswith("torch ") for line in said)
    assert not any(platform.node() in line.split() or str(Path.cwd()) in line for line in said)
