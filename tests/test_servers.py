"""Real servers, a real worker, real kills: in a clone of the project, on two small datasets."""

import base64
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import yaml
from mlflow import MlflowClient
from test_pipeline import Clone

from fdbpl.system import processes
from flows.servers import STATE

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

    def up(self, *words: str) -> dict[str, Any]:
        done = self.run("fdbpl", "up", "--prefect-port", "14200", "--mlflow-port", "15000", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.servers

    @property
    def servers(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / STATE).read_text()))

    def at_work(self, words: str = r"prefect\.engine|dvc |flows\.(leash|stage)") -> list[int]:
        """Ids of processes that came of `fdbpl up`, by words of their command lines."""
        found = []
        for process in processes.marked(self.servers["mark"]):
            with suppress(psutil.Error):
                if re.search(words, " ".join(process.cmdline())):
                    found.append(process.pid)
        return found

    def at_stage(self, stage: str) -> list[psutil.Process]:
        """Processes of a stage of DVC's, which finds its dataset in its environment."""
        found = []
        for pid in self.at_work(r"flows\.stage"):
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.environ().get("DVC_STAGE") == stage:
                    found.append(process)
        return found

    def api(self, path: str, body: object = None) -> Any:
        url = self.servers["urls"]["Prefect"]
        data = None if body is None else json.dumps(body).encode()
        shown = base64.b64encode(self.servers["secret"].encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {shown}"}
        request = urllib.request.Request(f"{url}/api/{path}", data, headers)
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

    def finished(self, run: str) -> tuple[str, str]:
        """Wait for a run; return how it ended, and what it says of that."""
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

        def ended() -> Any:
            state = self.api(f"flow_runs/{run}")["state"]
            return state["type"] in final and (state["type"], state["message"])

        return until(ended)

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

    def check_up_to_date(self) -> None:
        assert json.loads(self.run("dvc", "status", "--json").stdout) == {}

    def check_whole(self) -> None:
        """The next run completes, and MLflow holds every result once."""
        assert self.finished(self.start())[0] == "COMPLETED"
        self.check_up_to_date()
        keys = self.mlflow_keys()
        assert len(keys) == len(set(keys))
        assert "0 runs written" in self.run("fdbpl", "record").stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("servers") / "fdbpl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(made.folder))
        patch.delenv("PREFECT_API_URL", raising=False)
        try:
            made.up()
            yield made
        finally:
            made.run("fdbpl", "down")


def test_a_second_up_finds_the_first(project: Project) -> None:
    before = project.servers
    assert project.up() == before


def test_another_host_is_refused_while_servers_run(project: Project) -> None:
    done = project.run("fdbpl", "up", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert done.stderr == "error: running on 127.0.0.1, wanted 0.0.0.0. Run fdbpl down first.\n"


def test_nothing_listens_to_other_machines(project: Project) -> None:
    addresses = [
        connection.laddr.ip
        for process in processes.marked(project.servers["mark"])
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(addresses) >= 2
    assert set(addresses) <= {"127.0.0.1"}


def test_a_deployment_runs_as_the_readme_says(project: Project) -> None:
    done = project.run("prefect", "deployment", "run", "benchmark/playground", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.mlflow_keys()) == RUNS
    project.check_whole()
    assert len(project.mlflow_keys()) == RUNS
    kinds = {one["key"] for one in project.api("artifacts/filter", {})}
    assert {"benchmark", "comparison", "datasets", "mlflow"} <= kinds


def test_a_dataset_that_params_do_not_list_is_refused(project: Project) -> None:
    ended, message = project.finished(project.start(datasets=["textures", "moons"]))
    assert ended == "FAILED"
    assert "moons not in params.yaml, which lists textures, icons" in message


def test_a_cancelled_run_leaves_nothing_at_work(project: Project) -> None:
    run = project.in_training()
    project.api(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not project.at_work(), 60)
    assert project.finished(run)[0] == "CANCELLED"
    project.check_whole()


def test_a_killed_worker_leaves_nothing_at_work(project: Project) -> None:
    run = project.in_training()
    psutil.Process(project.at_work("worker start")[0]).kill()
    until(lambda: not project.at_work(), 60)
    assert project.finished(run)[0] == "CRASHED"
    project.up()
    project.check_whole()


def test_a_killed_server_leaves_nothing_that_stops_the_next_run(project: Project) -> None:
    project.in_training()
    psutil.Process(project.at_work("guarded prefect")[0]).kill()
    project.up()
    until(lambda: not project.at_work())
    project.check_whole()


def test_a_killed_stage_fails_its_dataset_alone(project: Project) -> None:
    """Icons is killed: every test of transfer rests on the prompts of the source, textures."""
    run = project.in_training()
    until(lambda: project.at_stage("train-student@icons"))[0].kill()
    assert project.finished(run) == ("FAILED", "1 of 2 datasets failed: icons.")
    until(lambda: not project.at_work(), 60)
    project.check_whole()


def test_two_runs_at_once_on_different_datasets_both_finish(project: Project) -> None:
    project.ask_for_training()
    runs = [project.start(datasets=[dataset]) for dataset in ("textures", "icons")]
    assert [project.finished(run)[0] for run in runs] == ["COMPLETED", "COMPLETED"]
    project.check_up_to_date()


def test_down_leaves_no_process_even_in_the_middle_of_a_run(project: Project) -> None:
    project.in_training()
    mark = project.servers["mark"]
    done = project.run("fdbpl", "down")
    assert done.returncode == 0, done.stderr
    assert processes.marked(mark) == []
    assert not (project.folder / "prefect.toml").exists()
    assert "nothing was running" in project.run("fdbpl", "down").stdout
    project.up()
    project.check_whole()
