"""The stage `parameters` under the real DVC: before it no other begins."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import draw_folder

from fdbpl.settings.project.project import make_project
from fdbpl.settings.resolved import RESOLVED, read_resolved

NAMES = [
    *(
        "icons; touch made",
        "x\ntouch made\n",
        "\\'; touch made; '",
        "../pictures",
        "prepare-crops@mine",
    )
]


def dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose parameters leave out every key with a default that DVC can do without."""
    tiny = {"weights": "tiny"}
    raw = {
        "datasets": ["mine"],
        "source": "mine",
        "methods": ["zero_shot"],
        "data": {"own": {"mine": {"folder": "pictures"}}},
        "student": {"architecture": "fdbpl-tiny-student", **tiny},
        "teacher": {"architecture": "fdbpl-tiny-teacher", **tiny},
    }
    make_project(tmp_path / "project", yaml.safe_dump(raw))
    draw_folder(tmp_path / "project" / "pictures", {"ant": (2, 1), "bee": (2, 1)})
    return tmp_path / "project"


@pytest.mark.slow
def test_keys_with_a_default_may_be_left_out_and_an_edit_reruns_what_reads_them(
    project: Path,
) -> None:
    done = dvc(project, "repro", "prepare-crops@mine")
    assert done.returncode == 0, done.stderr
    params = project / "params.yaml"
    params.write_text("# a comment\n" + params.read_text())
    assert (
        "Stage 'prepare-crops@mine' didn't change" in dvc(project, "repro", "prepare-crops").stdout
    )
    params.write_text(params.read_text() + "shots: 1\n")
    assert "prepare-crops@mine" in dvc(project, "repro", "--dry", "prepare-crops").stdout
    assert read_resolved(project / RESOLVED).shots == 16  # it was dry


@pytest.mark.slow
def test_no_name_reaches_a_shell_or_a_path(project: Path) -> None:
    own = {".dvc", ".dvc-state", "dvc.lock"}  # DVC's
    before = sorted(path for path in project.rglob("*") if own.isdisjoint(path.parts))
    text = (project / "params.yaml").read_text()
    for name in NAMES:
        raw = {**yaml.safe_load(text), "datasets": [name], "source": name}
        (project / "params.yaml").write_text(yaml.safe_dump(raw))
        done = dvc(project, "repro")
        assert done.returncode, name
        if "failed to reproduce" in done.stderr:
            assert "error: params.yaml: 'datasets' is" in done.stderr
            assert f"not {name!r}." in done.stderr
            assert "failed to reproduce 'parameters'" in done.stderr
    shutil.rmtree(project / "code")
    assert sorted(path for path in project.rglob("*") if own.isdisjoint(path.parts)) == before
