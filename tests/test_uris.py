"""Where runs are kept: in the project, whatever its folder is called, or where it says."""

import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fdbpl.system.errors import UserError
from fdbpl.tracking.uris import SETTING, artifacts_uri, store_uri, unused

ODD = "what?a=1 #feature%2Fx ü"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SETTING, "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)


def test_runs_lie_in_the_project_whatever_its_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / ODD / "mlflow"
    folder.mkdir(parents=True)
    (tmp_path / "a.txt").write_text("of a run")
    client = MlflowClient(store_uri(folder))
    experiment = client.create_experiment("fdbpl", artifact_location=artifacts_uri(folder))
    run = client.create_run(experiment).info.run_id
    client.log_artifact(run, str(tmp_path / "a.txt"))
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("select run_uuid from runs").fetchall() == [(run,)]
    assert (folder / "artifacts" / run / "artifacts" / "a.txt").read_text() == "of a run"
    assert [one.path for one in client.list_artifacts(run)] == ["a.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", ODD]


def test_only_the_projects_own_setting_leads_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    here = store_uri()
    assert unused() == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other.example")
    assert store_uri() == here
    assert unused() == [f"MLFLOW_TRACKING_URI is not used: {SETTING} says where a project records."]
    monkeypatch.setenv(SETTING, "https://team.example/mlflow")
    assert store_uri() == "https://team.example/mlflow"


@pytest.mark.parametrize("place", ["./mlruns", "databricks", "sqlite:///runs.db", "team.example"])
def test_what_is_no_address_of_a_server_is_named(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv(SETTING, place)
    with pytest.raises(UserError, match=rf"^{SETTING} is '{place}', wanted the address"):
        store_uri()
