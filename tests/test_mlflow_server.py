"""Which MLflow `fdbpl up` leads to, with sleeping processes in place of servers."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fdbpl.system import processes
from fdbpl.system.errors import UserError
from fdbpl.system.processes import Started
from flows import servers

ELSEWHERE = "http://mlflow.example/team"

Starts = list[tuple[str, str | None]]
"""What was started: its words, and where it was told that MLflow is."""


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starts]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    servers.PREFECT_YAML.write_text("")
    started: Starts = []
    start = processes.start

    def sleep(
        command: Sequence[str], environment: Mapping[str, str], mark: str, log: Path
    ) -> Started:
        started.append((" ".join(command[2:5]), environment.get("FDBPL_MLFLOW")))
        return start([sys.executable, "-c", "import time; time.sleep(100)"], {}, mark, log)

    monkeypatch.setattr(processes, "start", sleep)
    beat = b'[{"last_heartbeat_time": "2999-01-01"}]'
    monkeypatch.setattr(servers, "_ask", lambda url, body=None: beat)
    monkeypatch.setattr(servers, "_deploy", lambda state, say: None)
    yield started
    servers.down()


def up(say: Callable[[str], None] = lambda line: None) -> dict[str, str]:
    return servers.up(prefect_port=14210, mlflow_port=15010, say=say)


def test_an_mlflow_that_runs_elsewhere_is_used_and_none_started(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ELSEWHERE)
    said: list[str] = []
    assert up(said.append)["MLflow"] == ELSEWHERE
    assert f"no MLflow is started: MLFLOW_TRACKING_URI names {ELSEWHERE}" in said
    assert starts == [("prefect server start", None), ("prefect worker start", ELSEWHERE)]
    assert json.loads(servers.STATE.read_text())["urls"]["MLflow"] == ELSEWHERE
    assert up()["MLflow"] == ELSEWHERE
    assert len(starts) == 2  # all of it runs


def test_an_mlflow_of_ours_makes_room_for_one_elsewhere_and_comes_back(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = up()["MLflow"]
    assert ours.startswith("http://127.0.0.1:")
    assert starts[1:] == [("mlflow server --host", None), ("prefect worker start", ours)]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ELSEWHERE)
    assert up()["MLflow"] == ELSEWHERE
    assert starts[3:] == [("prefect worker start", ELSEWHERE)]
    state = json.loads(servers.STATE.read_text())
    assert len(processes.marked(state["mark"])) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    again = up()["MLflow"]
    assert again.startswith("http://127.0.0.1:")
    assert starts[4:] == [("mlflow server --host", None), ("prefect worker start", again)]


def test_a_password_in_its_address_is_refused_and_written_nowhere(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hush@mlflow.example")
    with pytest.raises(UserError, match=r"me:\*\*\*@mlflow.* MLFLOW_TRACKING_PASSWORD"):
        up()
    assert "hush" not in servers.STATE.read_text()
