"""Strangers: requests without the secret, of other hosts and origins, to all that is open."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from .chance import Random, one_of
from .child import end_as, run
from .outcome import BAD, Mark
from .project import Project
from .trial import Trial

OPEN = {
    "model": ("/", "/app.js", "/answers.js", "/style.css", "/healthz"),
    "Prefect": ("/", "/docs", "/api/health"),
}
"""What everybody on this machine is shown: a page that asks for the secret, and that it lives."""

PREFECT = ("admin/version", "admin/settings", "flows/filter", "deployments/filter", "flow_runs/")
PREFECT += ("flow_runs/filter", "work_pools/filter", "variables/filter", "block_documents/filter")
MLFLOW = ("experiments/search", "experiments/create", "runs/search", "registered-models/search")
PATHS: Mapping[str, tuple[str, ...]] = {
    "Prefect": ("/", "/docs", "/api/health", "/api/events/in", *(f"/api/{one}" for one in PREFECT)),
    "MLflow": (
        *("/", "/version", "/graphql", "/get-artifact?path=made&run_uuid=0"),
        "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=0&path=made",
        "/api/2.0/mlflow-artifacts/artifacts/made",
        *(f"/{api}/2.0/mlflow/{one}" for api in ("api", "ajax-api") for one in MLFLOW),
    ),
    "model": (*OPEN["model"], "/predict", "/metrics", "/openapi.json", "/docs", "/../etc/passwd"),
}
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD")
ORIGINS = (None, None, "http://evil.example", "null", "http://127.0.0.1:1", "http://localhost:1")
HOSTS = ("{place}", "localhost:{port}", "evil.example", "evil.example:{port}", "127.0.0.1.nip.io")
SECRETS = (None, None, "Bearer wrong", "Basic d3Jvbmc6d3Jvbmc=", "Bearer ", "Basic")
REFUSED = {"Prefect": (401, 403), "MLflow": (401, 403), "model": (400, 401, 403)}


class Servers:
    """The servers of `fdbpl up` and `fdbpl serve` in a copy of the project, and their ports."""

    def __init__(self, project: Project) -> None:
        self.place = project.folder / "served"
        subprocess.run(["cp", "-a", str(project.sound), str(self.place)], check=True)
        self.ports = {**self._up(), "model": self._serve()}

    def _up(self) -> dict[str, int]:
        words = [sys.executable, "-m", "fdbpl", "up"]
        words += ["--prefect-port", str(free_port()), "--mlflow-port", str(free_port())]
        done = subprocess.run(words, cwd=self.place, capture_output=True, text=True, check=False)
        found = re.findall(
            r"^ +(Prefect|MLflow) +https?://[^:\s]+:(\d+)", done.stdout, re.MULTILINE
        )
        if done.returncode or len(found) != 2:
            raise RuntimeError(f"fdbpl up: {done.stdout}\n{done.stderr}")
        return {name: int(port) for name, port in found}

    def _serve(self) -> int:
        port = free_port()
        self._server = os.fork()
        if self._server == 0:
            os.environ["FDBPL_TOKEN"] = os.urandom(16).hex()
            words = ("fdbpl", "serve", "model", "--port", str(port))
            end_as(lambda: run(words, self.place, seconds=24 * 3600).code)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return port
            time.sleep(0.05)
        raise RuntimeError("fdbpl serve does not listen")

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._server, signal.SIGTERM)
        subprocess.run([sys.executable, "-m", "fdbpl", "down"], cwd=self.place, check=False)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def stranger(project: Project, random: Random) -> Trial:
    """Ask a server without its secret, perhaps as a page of elsewhere; it must refuse."""
    if project.servers is None:
        project.servers = Servers(project)
    name = one_of(random, ("Prefect", "MLflow", "model"))
    port = project.servers.ports[name]
    method, path = one_of(random, METHODS), one_of(random, PATHS[name])
    choices = {"Origin": ORIGINS, "Host": HOSTS, "Authorization": SECRETS}
    drawn = {key: one_of(random, values) for key, values in choices.items()}
    place = f"127.0.0.1:{port}"
    headers = {key: value.format(place=place, port=port) for key, value in drawn.items() if value}
    asked = f"{name}: {method} {path} {headers}"
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(
            method, path, b"{}" if method in {"POST", "PUT", "PATCH"} else None, headers
        )
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return Trial("stranger", asked, "", frozenset({Mark.LOST}), repr(error))
    is_ours = headers["Host"] in {place, f"localhost:{port}"} and "Origin" not in headers
    is_open = is_ours and method in {"GET", "HEAD"} and path in OPEN.get(name, ())
    marks = set()
    if answer.status >= 500 or "Traceback (most" in body:
        marks.add(Mark.TRACEBACK)
    elif answer.getheader("Access-Control-Allow-Origin") or not (
        is_open or answer.status in (*REFUSED[name], 405)  # 405: nobody may ask that, whoever he is
    ):
        marks.add(Mark.WRONG)
    elif not is_open:
        marks.add(Mark.NAMED)
    if not marks & BAD:
        marks.add(Mark.RIGHT)
    return Trial("stranger", asked, "", frozenset(marks), f"{answer.status} {body[:100]!r}")
