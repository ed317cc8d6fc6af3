"""Which MLflow `fdbpl up` leads to, with sleeping processes in place of servers."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from fdbpl.cli import main
from fdbpl.system import processes
from fdbpl.system.errors import UserError
from fdbpl.system.processes import Started
from fdbpl.tracking import SETTING
from flows import servers

ELSEWHERE = "http://mlflow.example/team"

Starts = list[tuple[str, str | None]]
"""What was started: its words, and where it was told that MLflow is."""


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starts]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SETTING, raising=False)
    servers.PREFECT_YAML.write_text("")
    started: Starts = []
    start = processes.start

    def sleep(
        command: Sequence[str], environment: Mapping[str, str], mark: str, log: Path
    ) -> Started:
        started.append((" ".join(command[2:4]), environment.get(SETTING)))
        return start([sys.executable, "-c", "import time; time.sleep(100)"], {}, mark, log)

    monkeypatch.setattr(processes, "start", sleep)
    beat = b'[{"last_heartbeat_time": "2999-01-01"}]'
    monkeypatch.setattr(servers, "_ask", lambda *words: beat)
    monkeypatch.setattr(servers, "_deploy", lambda state, say: None)
    yield started
    servers.down()


def up(say: Callable[[str], None] = lambda line: None) -> dict[str, str]:
    return servers.up(prefect_port=14210, mlflow_port=15010, say=say)


def test_an_mlflow_that_runs_elsewhere_is_used_and_none_started(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, ELSEWHERE)
    said: list[str] = []
    assert up(said.append)["MLflow"] == ELSEWHERE
    assert f"no MLflow is started: {SETTING} names {ELSEWHERE}" in said
    assert starts == [("flows.guarded prefect", ELSEWHERE), ("prefect worker", ELSEWHERE)]
    assert json.loads(servers.STATE.read_text())["urls"]["MLflow"] == ELSEWHERE
    assert up()["MLflow"] == ELSEWHERE
    assert len(starts) == 2  # all of it runs


def test_an_mlflow_of_ours_makes_room_for_one_elsewhere_and_comes_back(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = up()["MLflow"]
    assert ours.startswith("http://127.0.0.1:")
    assert starts[1:] == [("flows.guarded mlflow", None), ("prefect worker", None)]
    monkeypatch.setenv(SETTING, ELSEWHERE)
    assert up()["MLflow"] == ELSEWHERE
    assert starts[3:] == [("prefect worker", ELSEWHERE)]
    state = json.loads(servers.STATE.read_text())
    assert len(processes.marked(state["mark"])) == 2
    monkeypatch.delenv(SETTING)
    assert up()["MLflow"].startswith("http://127.0.0.1:")
    assert starts[4:] == [("flows.guarded mlflow", None), ("prefect worker", None)]


def test_what_other_work_is_about_is_left_to_it_and_said(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ELSEWHERE)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite:///production.db")
    said: list[str] = []
    assert up(said.append)["MLflow"].startswith("http://127.0.0.1:")
    assert "PREFECT_API_DATABASE_CONNECTION_URL, MLFLOW_TRACKING_URI" in said[0]
    assert not any("production" in line or ELSEWHERE in line for line in said)


def test_a_password_in_its_address_is_refused_and_written_nowhere(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, "https://me:hush@mlflow.example")
    with pytest.raises(UserError, match=r"me:\*\*\*@mlflow.* MLFLOW_TRACKING_PASSWORD"):
        up()
    assert "hush" not in servers.STATE.read_text()


def test_only_its_owner_reads_the_secret_and_it_goes_with_the_servers(starts: Starts) -> None:
    up()
    secret = servers.SECRET_FILE.read_text()
    holders = [servers.SECRET_FILE, servers.STATE, servers.PREFECT_TOML]
    for path in holders:
        assert secret in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert servers.FOLDER.stat().st_mode & 0o077 == 0
    up()
    assert servers.SECRET_FILE.read_text() == secret
    servers.down()
    assert not any(path.exists() for path in holders)
    up()
    assert servers.SECRET_FILE.read_text() != secret


def test_servers_of_an_earlier_version_that_let_everybody_in_are_ended(starts: Starts) -> None:
    up()
    state = json.loads(servers.STATE.read_text())
    del state["secret"], state["store"], state["temporary"]
    servers.STATE.write_text(json.dumps(state))
    up()
    assert len(starts) == 6
    assert processes.marked(state["mark"]) == []


@pytest.mark.parametrize(
    "words", [("--prefect-port", "99999"), ("--mlflow-port", "0"), ("--host", "no.host.invalid")]
)
def test_where_nobody_can_listen_nothing_is_started(starts: Starts, words: tuple[str, str]) -> None:
    done = CliRunner().invoke(main, ["up", *words])
    assert done.exit_code == 2
    assert words[1] in done.stderr
    assert "taken" not in done.stderr
    assert starts == []
