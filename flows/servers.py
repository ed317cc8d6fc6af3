"""`fdbpl up` and `fdbpl down`: Prefect's server and worker and MLflow's server, on this machine.

They listen on 127.0.0.1 unless asked otherwise, send nothing anywhere, and keep all they know
below `.fdbpl`. `prefect.toml`, written here, lets `prefect` find its server in this folder.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import psutil

from fdbpl.system import processes
from fdbpl.system.address import require_no_password
from fdbpl.system.errors import UserError
from fdbpl.system.files import locked, readable_json, sha256, write_whole
from fdbpl.system.processes import Started

FOLDER = Path(".fdbpl/servers")
STATE = FOLDER / "state.json"
PREFECT_TOML, PREFECT_YAML = Path("prefect.toml"), Path("prefect.yaml")
POOL = "local-pool"
RUNS_AT_ONCE = 2
PREFECT_PORT, MLFLOW_PORT = 4200, 5000
START_SECONDS = 180.0

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""What keeps the three from sending usage figures; a value of the user's own goes first."""

TOML = """\
# Written by fdbpl up, removed by fdbpl down: where prefect finds its server from this folder.
[api]
url = "{url}/api"

[server]
analytics_enabled = false
"""


@dataclass
class State:
    """What runs: the mark its processes carry, their ids, addresses, and what is deployed."""

    host: str
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    processes: dict[str, Started] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    deployed: str = ""

    @classmethod
    def load(cls) -> "State | None":
        """Read the state file, if there is one."""
        if not STATE.is_file():
            return None
        raw = json.loads(STATE.read_text(encoding="utf-8"))
        started = {name: Started(**one) for name, one in raw.pop("processes").items()}
        return cls(processes=started, **raw)

    def save(self) -> None:
        """Write the state file, before anything that could fail."""
        write_whole(STATE, readable_json(asdict(self)))

    def process(self, name: str) -> psutil.Process | None:
        """Return the process of this name, if it was started and still runs."""
        return self.processes[name].process() if name in self.processes else None


def up(
    host: str = "127.0.0.1",
    prefect_port: int = PREFECT_PORT,
    mlflow_port: int = MLFLOW_PORT,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Start what does not run yet, wait until it answers, and return the addresses.

    Raises:
        UserError: a server ended, or did not answer in three minutes (the message names its log),
            or listens on another host.
    """
    if not PREFECT_YAML.is_file():
        raise UserError(f"{PREFECT_YAML}: no such file. Run fdbpl up in the project's folder.")
    with locked(FOLDER / "lock"):
        state = State.load() or State(host)
        if state.host != host:
            raise UserError(f"running on {state.host}, wanted {host}. Run fdbpl down first.")
        known = dict(state.urls)
        _start_server(state, "Prefect", prefect_port, _prefect_command, say)
        _find_mlflow(state, mlflow_port, say)
        worker = state.process("worker")
        if worker and state.urls != known:  # the worker looks where a server no longer is
            processes.end([worker])
        for name, health in (("Prefect", "/api/health"), ("MLflow", "/health")):
            if name in state.processes:
                _wait(state, name, partial(_ask, state.urls[name] + health))
        _write_toml(state.urls["Prefect"])
        _start_worker(state, say)
        _deploy(state, say)
        return state.urls


def down() -> int:
    """End the worker, then the servers, then whatever they left; return how many there were."""
    with locked(FOLDER / "lock"):
        state = State.load()
        if state is None:
            return 0
        ended = len(processes.marked(state.mark))
        worker = state.process("worker")
        if worker:
            processes.end([worker])
        _end_runs(state)
        processes.end(processes.marked(state.mark))
        if PREFECT_TOML.is_file() and _ours(PREFECT_TOML):
            PREFECT_TOML.unlink()
        STATE.unlink()
        return ended


def _end_runs(state: State) -> None:
    """End the runs that the worker left, while the server still hears of it.

    Only the topmost are told: each ends what it started, in an order that leaves no lock behind.
    """
    servers = {state.processes[name].pid for name in ("Prefect", "MLflow") if state.process(name)}
    runs = [one for one in processes.marked(state.mark) if not servers & _line(one)]
    ids = {one.pid for one in runs}
    processes.end(one for one in runs if not (_line(one) - {one.pid}) & ids)
    processes.wait(runs)


def _line(process: psutil.Process) -> set[int]:
    """Return the ids of a process and of all above it."""
    try:
        return {process.pid, *(one.pid for one in process.parents())}
    except psutil.NoSuchProcess:
        return {process.pid}


def _start_server(
    state: State,
    name: str,
    port: int,
    command: Callable[[str, int], list[str]],
    say: Callable[[str], None],
) -> None:
    if state.process(name):
        return
    if name in state.urls:
        port = int(state.urls[name].rsplit(":", 1)[1])
    port = _free_port(state.host, port)
    say(f"starting {name} ...")
    reached = "127.0.0.1" if state.host == "0.0.0.0" else state.host
    state.urls[name] = f"http://{reached}:{port}"
    _start(state, name, command(state.host, port), _environment(state))


def _find_mlflow(state: State, port: int, say: Callable[[str], None]) -> None:
    """Start MLflow's server, unless MLFLOW_TRACKING_URI names one: none serves another's runs."""
    from fdbpl.tracking import store_uri

    uri = store_uri()
    if not uri.startswith(("http://", "https://")):
        if "MLflow" not in state.processes:  # what stands there is an address of another's
            state.urls.pop("MLflow", None)
        _start_server(state, "MLflow", port, _mlflow_command, say)
        return
    require_no_password(uri, "Put it into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.")
    own = state.process("MLflow")
    if own:
        processes.end([own])
    state.processes.pop("MLflow", None)
    state.urls["MLflow"] = uri
    state.save()
    say(f"no MLflow is started: MLFLOW_TRACKING_URI names {uri}")


def _prefect_command(host: str, port: int) -> list[str]:
    return ["prefect", "server", "start", "--host", host, "--port", str(port)]


def _mlflow_command(host: str, port: int) -> list[str]:
    from fdbpl.tracking import artifacts_uri, store_uri

    return [
        *("mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store_uri(), "--artifacts-destination", artifacts_uri()),
    ]


def _start_worker(state: State, say: Callable[[str], None]) -> None:
    if state.process("worker"):
        return
    say("starting a worker ...")
    since = time.time()
    words = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "fdbpl"]
    words += ["--limit", str(RUNS_AT_ONCE)]
    _start(state, "worker", words, _environment(state, connected=True))
    url = f"{state.urls['Prefect']}/api/work_pools/{POOL}/workers/filter"

    def seen() -> bool:
        workers = json.loads(_ask(url, b"{}") or b"[]")
        beats = [datetime.fromisoformat(one["last_heartbeat_time"]) for one in workers]
        return any(beat.timestamp() > since for beat in beats)

    _wait(state, "worker", seen)


def _deploy(state: State, say: Callable[[str], None]) -> None:
    """Bring the deployments up to `prefect.yaml`, where it changed since the last time."""
    digest = sha256(PREFECT_YAML.read_bytes())
    if state.deployed == digest:
        return
    say("deploying prefect.yaml ...")
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env=_environment(state, connected=True),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"prefect deploy --all failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    state.deployed = digest
    state.save()


def _start(state: State, name: str, words: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", *words]
    state.processes[name] = processes.start(command, environment, state.mark, _log(name))
    state.save()


def _log(name: str) -> Path:
    return FOLDER / f"{name.lower()}.log"


def _environment(state: State, *, connected: bool = False) -> dict[str, str]:
    """Return what our processes see; only those that are `connected` are told of the server."""
    own = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    path = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])
    environment = {
        **QUIET,
        **own,
        "PATH": path,
        "PREFECT_HOME": str(Path(".fdbpl/prefect").absolute()),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "NO_PROXY": ",".join(filter(None, [own.get("NO_PROXY"), "127.0.0.1,localhost"])),
        processes.MARK: state.mark,
    }
    if connected:
        environment["PREFECT_API_URL"] = f"{state.urls['Prefect']}/api"
        environment["FDBPL_MLFLOW"] = state.urls["MLflow"]
    return environment


def _wait(state: State, name: str, ready: Callable[[], object]) -> None:
    deadline, log = time.monotonic() + START_SECONDS, _log(name)
    while not ready():
        if not state.process(name):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise UserError(f"{name} ended before it answered. {log} ends:\n{tail}")
        if time.monotonic() > deadline:
            raise UserError(f"{name} did not answer in {START_SECONDS:.0f} s. See {log}.")
        time.sleep(0.2)


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _ask(url: str, body: bytes | None = None) -> bytes | None:
    """Return what a server answers; None where it does not, or with an error."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with _direct.open(request, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def _free_port(host: str, first: int) -> int:
    """Return `first`, or the next port on which nobody listens."""
    for port in range(first, first + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise UserError(f"ports {first} to {first + 49} of {host} are all taken. Choose another.")


def _write_toml(url: str) -> None:
    if PREFECT_TOML.is_file() and not _ours(PREFECT_TOML):
        raise UserError(f"{PREFECT_TOML} is your own. Move it away: fdbpl up writes one.")
    write_whole(PREFECT_TOML, TOML.format(url=url).encode())


def _ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith(TOML.splitlines()[0])
