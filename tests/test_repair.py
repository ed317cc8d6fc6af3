"""`fdbpl repair`: a project after a crash, and that nothing is done to a sound one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from click.testing import CliRunner
from conftest import draw_folder

from fdbpl.cli import main
from fdbpl.settings.project.project import make_project
from fdbpl.system import processes
from fdbpl.system.errors import UserError
from fdbpl.system.files import DAMAGED
from flows.dvc_files import LOCK, OBJECTS, RUNS, RWLOCK
from flows.repair import repair
from flows.servers import STATE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project that has run nothing yet."""
    raw = {
        "datasets": ["mine"],
        "source": "mine",
        "methods": ["zero_shot"],
        "data": {"own": {"mine": {"folder": "pictures"}}},
        "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
        "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
    }
    make_project(tmp_path / "project", yaml.safe_dump(raw))
    draw_folder(tmp_path / "project" / "pictures", {"ant": (2, 1), "bee": (2, 1)})
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_a_sound_project_needs_nothing_and_a_folder_that_is_none_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(main, ["repair"])
    assert (done.exit_code, done.output) == (0, "nothing to mend\n")
    monkeypatch.chdir(project / "pictures")
    with pytest.raises(UserError, match="Run this in the project's folder"):
        list(repair())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"processes": {}, "nodes": 1}', b"\xff"]
)
def test_processes_that_nobody_knows_any_more_are_ended_and_no_others(
    project: Path, data: bytes
) -> None:
    STATE.parent.mkdir(parents=True)
    STATE.write_bytes(data)
    sleep = [sys.executable, "-c", "import time; time.sleep(100)"]
    started = processes.start(sleep, os.environ, "a-mark", project / "log").process()
    assert started
    with subprocess.Popen(sleep, cwd="/") as other, subprocess.Popen(sleep) as unmarked:
        said = list(repair())
        assert said[0].startswith(f"{STATE}: damaged; it is {DAMAGED}")
        assert said[1] == "ended 1 processes that fdbpl up had started"
        assert not started.is_running() or started.status() == psutil.STATUS_ZOMBIE
        for one in (other, unmarked):
            assert one.poll() is None
            one.kill()
    assert not STATE.exists()
    assert list(repair()) == []


def dvc(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def plan() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("plans/mine").iterdir()}


@pytest.mark.slow
def test_after_a_power_cut_the_next_run_has_the_same_results(project: Path) -> None:
    dvc("repro", "prepare-crops@mine")
    wanted, locked = plan(), LOCK.read_text()
    assert list(repair(thoroughly=True)) == []
    objects = [path for path in OBJECTS.glob("??/*") if path.stat().st_size]
    for path in objects:
        path.chmod(0o644)
        path.write_bytes(b"")
    for path in Path("plans/mine").iterdir():  # perhaps the same files
        path.chmod(0o644)
        path.write_bytes(b"")
    shutil.rmtree(RUNS)
    LOCK.write_text(locked[: locked.index("deps:", len(locked) // 2) + 5])
    RWLOCK.write_text('{"read": {')
    done = CliRunner().invoke(main, ["repair"])
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) == 3, done.output
    dvc("repro", "prepare-crops@mine")
    assert plan() == wanted
    assert LOCK.read_text() == locked


@pytest.mark.slow
def test_after_a_full_disk_the_run_cache_serves_again(project: Path) -> None:
    dvc("repro", "prepare-crops@mine")
    wanted = plan()
    for run in RUNS.glob("*/*/*"):
        run.unlink()
    LOCK.unlink()
    shutil.rmtree("plans")
    [line] = repair()
    assert "runs empty; removed" in line
    dvc("repro", "prepare-crops@mine")
    assert plan() == wanted
