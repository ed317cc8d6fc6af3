"""`fdbpl up` and `fdbpl down`: Prefect's server and worker and MLflow's server, on this machine.

They listen on 127.0.0.1 unless asked otherwise, send nothing anywhere, and keep all they know
below `.fdbpl`. Both ask for a secret that is made with them. `prefect.toml`, written here, lets
`prefect` find its server and the secret in this folder.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path

import psutil

from fdbpl.system import processes
from fdbpl.system.address import free_port, url_of
from fdbpl.system.errors import UserError
from fdbpl.system.files import locked, readable_json, sha256, write_whole
from fdbpl.system.processes import Started
from flows.environment import environment_of, foreign
from flows.guarded import SECRET

FOLDER = Path(".fdbpl/servers")
STATE, SECRET_FILE = FOLDER / "state.json", FOLDER / "secret"
PREFECT_TOML, PREFECT_YAML = Path("prefect.toml"), Path("prefect.yaml")
POOL = "local-pool"
RUNS_AT_ONCE = 2
PREFECT_PORT, MLFLOW_PORT = 4200, 5000
START_SECONDS = 180.0
PRIVATE = 0o600

TOML = """\
# Written by fdbpl up, removed by fdbpl down: where prefect finds its server from this folder.
[api]
url = "{url}/api"
auth_string = "{secret}"

[server]
analytics_enabled = false
"""

JOB: dict[str, object] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""What a run of the pool may choose about its process, its command and environment: nothing."""


@dataclass
class State:
    """What runs: the mark its processes carry, their ids, addresses, and what is deployed.

    `secret` is what its servers ask for, `store` where MLflow keeps runs, `temporary` the worker's
    folder.
    """

    host: str
    secret: str = ""
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    processes: dict[str, Started] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    deployed: str = ""
    store: str = ""
    temporary: str = ""

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
        write_whole(STATE, readable_json(asdict(self)), mode=PRIVATE)

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
            or listens on another host; or nobody can listen on this one.
    """
    if not PREFECT_YAML.is_file():
        raise UserError(f"{PREFECT_YAML}: no such file. Run fdbpl up in the project's folder.")
    if others := foreign(os.environ):
        say(f"not used, since a project has its own Prefect and MLflow: {', '.join(others)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.chmod(0o700)
    earlier = State.load()
    if earlier and not earlier.secret:  # an earlier version's servers let everybody in
        down()
    with locked(FOLDER / "lock"):
        state = State.load() or State(host, secrets.token_hex(16))
        if state.host != host:
            raise UserError(f"running on {state.host}, wanted {host}. Run fdbpl down first.")
        known = dict(state.urls), state.store
        _start_server(state, "Prefect", prefect_port, say)
        _find_mlflow(state, mlflow_port, say)
        worker = state.process("worker")
        if worker and (state.urls, state.store) != known:  # it looks where a server no longer is
            processes.end([worker])
        for name, health in (("Prefect", "/api/health"), ("MLflow", "/health")):
            if name in state.processes:
                _wait(state, name, partial(_ask, state, state.urls[name] + health))
        _write_secret(state)
        _wait(state, "Prefect", partial(_fix_pool, state))
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
        shutil.rmtree(state.temporary, ignore_errors=True)
        SECRET_FILE.unlink(missing_ok=True)
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


def _start_server(state: State, name: str, port: int, say: Callable[[str], None]) -> None:
    if state.process(name):
        return
    if name in state.urls:
        port = int(state.urls[name].rsplit(":", 1)[1])
    port = free_port(state.host, port)
    say(f"starting {name} ...")
    state.urls[name] = url_of(state.host, port)
    environment = {**environment_of(os.environ, state.host), SECRET: state.secret}
    _start(state, name, ["flows.guarded", name.lower(), state.host, str(port)], environment)


def _find_mlflow(state: State, port: int, say: Callable[[str], None]) -> None:
    """Start MLflow's server over the project's runs, unless they are kept by one elsewhere."""
    from fdbpl.tracking import SETTING, store_uri

    state.store, known = store_uri(), state.store
    own = state.process("MLflow")
    if own and state.store != known:
        processes.end([own])
    if not state.store.startswith("http"):
        if "MLflow" not in state.processes:  # what stands there is an address of another's
            state.urls.pop("MLflow", None)
        _start_server(state, "MLflow", port, say)
        return
    state.processes.pop("MLflow", None)
    state.urls["MLflow"] = state.store
    state.save()
    say(f"no MLflow is started: {SETTING} names {state.store}")


def _fix_pool(state: State) -> bool:
    """Make the pool one whose runs choose nothing of their process; tell whether it is."""
    pools = f"{state.urls['Prefect']}/api/work_pools/"
    fixed = {"base_job_template": JOB}
    if _ask(state, pools + POOL, fixed, "PATCH") is not None:
        return True
    return _ask(state, pools, {"name": POOL, "type": "process", **fixed}) is not None


def _start_worker(state: State, say: Callable[[str], None]) -> None:
    if state.process("worker"):
        return
    say("starting a worker ...")
    since = time.time()
    words = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "fdbpl"]
    words += ["--limit", str(RUNS_AT_ONCE)]
    shutil.rmtree(state.temporary, ignore_errors=True)
    state.temporary = tempfile.mkdtemp(prefix="fdbpl-")  # what Prefect shares there, users cannot
    _start(state, "worker", words, {**_connected(state), "TMPDIR": state.temporary})
    url = f"{state.urls['Prefect']}/api/work_pools/{POOL}/workers/filter"

    def seen() -> bool:
        workers = json.loads(_ask(state, url, {}) or b"[]")
        beats = [datetime.fromisoformat(one["last_heartbeat_time"]) for one in workers]
        return any(beat.timestamp() > since for beat in beats)

    _wait(state, "worker", seen)


def _deploy(state: State, say: Callable[[str], None]) -> None:
    """Bring the deployments up to `prefect.yaml`, where it or its place changed since last time."""
    digest = sha256(PREFECT_YAML.read_bytes() + bytes(Path.cwd()))
    if state.deployed == digest:
        return
    say("deploying prefect.yaml ...")
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env=_connected(state),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        say(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        raise UserError("prefect deploy --all failed; what it said stands above.")
    state.deployed = digest
    state.save()


def _start(state: State, name: str, words: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", *words]
    state.processes[name] = processes.start(command, environment, state.mark, _log(name))
    state.save()


def _log(name: str) -> Path:
    return FOLDER / f"{name.lower()}.log"


def _connected(state: State) -> dict[str, str]:
    """Return the environment of what works with Prefect's server."""
    return {
        **environment_of(os.environ, state.host),
        "PREFECT_API_URL": f"{state.urls['Prefect']}/api",
        "PREFECT_API_AUTH_STRING": state.secret,
        processes.MARK: state.mark,
    }


def _wait(state: State, name: str, ready: Callable[[], object]) -> None:
    deadline, log = time.monotonic() + START_SECONDS, _log(name)
    while not ready():
        if not state.process(name):
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise UserError(f"{name} ended before it answered; {log} ends: {''.join(last)}")
        if time.monotonic() > deadline:
            raise UserError(f"{name} did not answer in {START_SECONDS:.0f} s. See {log}.")
        time.sleep(0.2)


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _ask(state: State, url: str, body: object = None, method: str | None = None) -> bytes | None:
    """Return what a server of ours answers; None where it does not, or with an error."""
    shown = base64.b64encode(state.secret.encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {shown}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with _direct.open(request, timeout=5) as answer:
            return bytes(answer.read())
    except (OSError, HTTPException):  # the second where a server ends in the middle of an answer
        return None


def _write_secret(state: State) -> None:
    """Write the secret where its owner finds it, and `prefect` in this folder does."""
    if PREFECT_TOML.is_file() and not _ours(PREFECT_TOML):
        raise UserError(f"{PREFECT_TOML} is your own. Move it away: fdbpl up writes one.")
    text = TOML.format(url=state.urls["Prefect"], secret=state.secret)
    write_whole(PREFECT_TOML, text.encode(), mode=PRIVATE)
    write_whole(SECRET_FILE, state.secret.encode(), mode=PRIVATE)


def _ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith(TOML.splitlines()[0])
