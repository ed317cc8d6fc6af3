"""Real servers, a real worker, real kills: in a clone of the project, on two small datasets."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import yaml
from mlflow import MlflowClient
from test_pipeline import Clone

from fdbpl.system import processes
from flows.servers import STATE, _free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RUNS = 2 * 4 * 2 + 4 + 4 * 2
PATIENCE = 300.0


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found


class Project(Clone):
    """A clone with servers; knows its processes and speaks to Prefect's API."""

    def up(self) -> dict[str, Any]:
        done = self.run("fdbpl", "up", "--prefect-port", "14200", "--mlflow-port", "15000")
        assert done.returncode == 0, done.stdout + done.stderr
        state: dict[str, Any] = json.loads((self.folder / STATE).read_text())
        return state

    @property
    def mark(self) -> str:
        return str(json.loads((self.folder / STATE).read_text())["mark"])

    def commands(self) -> list[tuple[int, str]]:
        """Processes that came of `fdbpl up`, as (id, command line)."""
        found = []
        for process in processes.marked(self.mark):
            try:
                found.append((process.pid, " ".join(process.cmdline())))
            except psutil.Error:
                continue
        return found

    def at_work(self, words: str = r"prefect\.engine|dvc |flows\.") -> list[int]:
        return [pid for pid, command in self.commands() if re.search(words, command)]

    def api(self, path: str, body: object = None) -> Any:
        url = json.loads((self.folder / STATE).read_text())["urls"]["Prefect"]
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{url}/api/{path}", data, {"Content-Type": "application/json"}
        )
        for _ in range(30):  # a server that has just started may find its database busy
            try:
                with urllib.request.urlopen(request) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(1)
        raise TimeoutError(f"{url}/api/{path}: busy for half a minute")

    def start(self, **parameters: object) -> str:
        deployment = self.api("deployments/name/benchmark/playground")["id"]
        run = self.api(f"deployments/{deployment}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.api(f"flow_runs/{run}")["state"])

    def finished(self, run: str) -> dict[str, Any]:
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        until(lambda: self.state(run)["type"] in final)
        return self.state(run)

    def ask_for_training(self) -> None:
        path = self.folder / "params.yaml"
        rate = yaml.safe_load(path.read_text())["train"]["lr"]
        self.change(train={"lr": rate + 0.0001})

    def in_training(self) -> str:
        """Start a run that has to train again; return it once a stage trains."""
        self.ask_for_training()
        run = self.start()
        until(lambda: self.at_work(r"flows\.stage train-student"))
        return run

    def mlflow_keys(self) -> list[str]:
        client = MlflowClient(f"sqlite:///{self.folder}/.fdbpl/mlflow/mlflow.db")
        experiment = client.get_experiment_by_name("fdbpl")
        assert experiment
        found = client.search_runs([experiment.experiment_id], max_results=1000)
        return [run.data.tags["fdbpl.key"] for run in found]

    def check_whole(self) -> None:
        """The next run completes, and MLflow holds every result once."""
        assert self.finished(self.start())["type"] == "COMPLETED"
        status = self.run("dvc", "status", "--json")
        assert json.loads(status.stdout) == {}
        keys = self.mlflow_keys()
        assert len(keys) == len(set(keys))
        assert "0 runs written" in self.run("fdbpl", "record").stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("servers") / "fdbpl")
    environment = {"PYTHONPATH": str(made.folder), "PREFECT_API_URL": None}
    before = {name: os.environ.get(name) for name in environment}
    _set(environment)
    try:
        made.up()
        yield made
    finally:
        made.run("fdbpl", "down")
        _set(before)


def _set(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def test_a_second_up_finds_the_first(project: Project) -> None:
    before = json.loads((project.folder / STATE).read_text())
    assert project.up() == before


def test_another_host_is_refused_while_servers_run(project: Project) -> None:
    done = project.run("fdbpl", "up", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert done.stderr == "error: running on 127.0.0.1, wanted 0.0.0.0. Run fdbpl down first.\n"


def test_a_taken_port_is_left_alone() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert _free_port("127.0.0.1", taken) > taken


def test_nothing_listens_to_other_machines(project: Project) -> None:
    addresses = [
        connection.laddr.ip
        for process in processes.marked(project.mark)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(addresses) >= 2
    assert set(addresses) <= {"127.0.0.1"}


def test_a_deployment_runs_as_the_readme_says(project: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "run", "benchmark/playground", "--watch"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.mlflow_keys()) == RUNS
    project.check_whole()
    assert len(project.mlflow_keys()) == RUNS
    kinds = {one["key"] for one in project.api("artifacts/filter", {})}
    assert {"benchmark", "comparison", "datasets", "mlflow"} <= kinds


def test_a_dataset_that_params_do_not_list_is_refused(project: Project) -> None:
    state = project.finished(project.start(datasets=["textures", "moons"]))
    assert state["type"] == "FAILED"
    assert "moons not in params.yaml, which lists textures, icons" in state["message"]


def test_a_cancelled_run_leaves_nothing_at_work(project: Project) -> None:
    run = project.in_training()
    project.api(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not project.at_work(), 60)
    assert project.finished(run)["type"] == "CANCELLED"
    project.check_whole()


def test_a_killed_worker_leaves_nothing_at_work(project: Project) -> None:
    run = project.in_training()
    psutil.Process(project.at_work("worker start")[0]).kill()
    until(lambda: not project.at_work(), 60)
    assert project.finished(run)["type"] == "CRASHED"
    project.up()
    project.check_whole()


def test_a_killed_server_leaves_nothing_that_stops_the_next_run(project: Project) -> None:
    project.in_training()
    psutil.Process(project.at_work("server start")[0]).kill()
    project.up()
    until(lambda: not project.at_work())
    project.check_whole()


def test_a_killed_stage_fails_its_dataset_alone(project: Project) -> None:
    run = project.in_training()
    textures = until(lambda: project.at_work(r"flows\.stage train-student textures"))
    psutil.Process(textures[0]).kill()
    state = project.finished(run)
    assert state["type"] == "FAILED"
    assert state["message"] == "1 of 2 datasets failed: textures."
    until(lambda: not project.at_work(), 60)
    project.check_whole()


def test_two_runs_at_once_on_different_datasets_both_finish(project: Project) -> None:
    project.ask_for_training()
    runs = [project.start(datasets=[dataset]) for dataset in ("textures", "icons")]
    assert [project.finished(run)["type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    assert json.loads(project.run("dvc", "status", "--json").stdout) == {}


def test_down_leaves_no_process_even_in_the_middle_of_a_run(project: Project) -> None:
    project.in_training()
    mark = project.mark
    done = project.run("fdbpl", "down")
    assert done.returncode == 0, done.stderr
    assert processes.marked(mark) == []
    assert not (project.folder / "prefect.toml").exists()
    assert "nothing was running" in project.run("fdbpl", "down").stdout
    project.up()
    project.check_whole()
