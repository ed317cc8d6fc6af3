"""MLflow's database of a project: whole or not there, and right after the project was moved."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from fdbpl.system.files import DAMAGED
from fdbpl.tracking import FOLDER, artifacts_uri
from fdbpl.tracking.database import mend, prepare

DATABASE = FOLDER / "mlflow.db"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it, which takes seconds."""
    folder = tmp_path_factory.mktemp("made")
    prepare(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["database.lock", "mlflow.db"]
    return folder / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a whole database."""
    (tmp_path / "project" / FOLDER).mkdir(parents=True)
    shutil.copy(made, tmp_path / "project" / DATABASE)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "project"


@pytest.mark.parametrize("thoroughly", [False, True])
def test_a_whole_database_stays(project: Path, made: Path, thoroughly: bool) -> None:
    assert list(mend(FOLDER, thoroughly=thoroughly)) == []
    assert DATABASE.read_bytes() == made.read_bytes()
    prepare(FOLDER)
    assert DATABASE.read_bytes() == made.read_bytes()


def test_where_there_is_none_there_is_nothing_to_mend(tmp_path: Path) -> None:
    assert list(mend(tmp_path / "none")) == []
    assert list(tmp_path.iterdir()) == []


HALF_MADE = [
    "DELETE FROM experiments",
    "DELETE FROM alembic_version",
    "DROP TABLE alembic_version",
    "DROP TABLE runs; DROP TABLE experiments",
]


@pytest.mark.parametrize("what", [*HALF_MADE, 0, 17, 40_000])
def test_a_half_made_or_damaged_database_is_set_aside(project: Path, what: str | int) -> None:
    if isinstance(what, int):
        DATABASE.write_bytes(DATABASE.read_bytes()[:what] + b"\0" * (what and 5000))
    else:
        with closing(sqlite3.connect(DATABASE)) as database:
            database.executescript(what)
    before = DATABASE.read_bytes()
    [line] = mend(FOLDER)
    assert line.startswith(f"{DATABASE}: ")
    assert "fdbpl record makes another" in line
    assert not DATABASE.exists()
    assert [path.read_bytes() for path in DAMAGED.iterdir()] == [before]
    assert list(mend(FOLDER)) == []


def test_a_damaged_page_is_found_by_a_thorough_look(project: Path) -> None:
    data = bytearray(DATABASE.read_bytes())
    data[-4096 * 3 : -4096] = b"\x55" * 4096 * 2
    DATABASE.write_bytes(data)
    assert list(mend(FOLDER)) == []
    [line] = mend(FOLDER, thoroughly=True)
    assert "damaged" in line


def test_a_database_that_another_holds_is_left_to_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fdbpl.tracking.database.SECONDS", 0.1)
    with closing(sqlite3.connect(DATABASE, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert list(mend(FOLDER)) == []
    assert DATABASE.is_file()


@pytest.fixture
def moved(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's new place, after runs were recorded and it was moved there; it was at `old`."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{DATABASE.absolute()}")
    experiment = client.create_experiment("fdbpl", artifact_location=artifacts_uri())
    run = client.create_run(experiment, tags={"fdbpl.folder": f"me:{project}", "x": f"{project}/y"})
    Path("file").write_text("content")
    client.log_artifact(run.info.run_id, "file", "below")
    client.create_registered_model("model")
    client.create_model_version("model", f"{run.info.artifact_uri}/below", run.info.run_id)
    client.create_logged_model(experiment, "one")
    new = project.with_name("moved ü%#")
    monkeypatch.chdir(project.parent)
    shutil.move(project, new)
    monkeypatch.chdir(new)
    return new


def test_after_a_move_files_are_found_and_no_address_is_the_old_places(
    project: Path, moved: Path
) -> None:
    from mlflow import MlflowClient

    [line] = mend(FOLDER)
    assert line == f"{DATABASE}: its files' addresses were those of {project}, and are of here now"
    with closing(sqlite3.connect(DATABASE)) as database:
        told = [
            row for row in database.iterdump() if project.as_uri() in row or f":{project}" in row
        ]
        assert told == []
        assert f"me:{moved}" in "".join(database.iterdump())
    shutil.copy(DATABASE, moved.parent / "x.db")  # whose name MLflow takes in its address
    client = MlflowClient(f"sqlite:///{moved.parent}/x.db")
    [run] = client.search_runs([client.get_experiment_by_name("fdbpl").experiment_id])
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["below"]
    version = client.get_model_version("model", "1")
    assert version.source == f"{artifacts_uri()}/{run.info.run_id}/artifacts/below"
    assert run.data.tags["x"] == f"{project}/y"  # the user's own
    assert list(mend(FOLDER)) == []


@pytest.mark.slow
def test_a_kill_leaves_no_half_made_database(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from fdbpl.tracking.database import prepare; prepare(Path('.'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as making:
        while making.poll() is None and tables(tmp_path / "new" / "mlflow.db") < 20:
            time.sleep(0.001)
        making.send_signal(signal.SIGKILL)
    assert making.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    prepare(tmp_path)
    assert list(mend(tmp_path, thoroughly=True)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["database.lock", "mlflow.db"]


def tables(path: Path) -> int:
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db,
    ):
        return int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    return 0
