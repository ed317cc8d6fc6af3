"""Who gets in where `fdbpl up` and `fdbpl serve` listen: another user, another page, the owner."""

import json
import multiprocessing
import os
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from served import serving
from test_servers import Project
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.screens import Page, browser, chromium
from fdbpl.system import processes
from flows.servers import FOLDER, PREFECT_TOML, SECRET_FILE, STATE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HOLDERS = (STATE, SECRET_FILE, PREFECT_TOML)
"""The files that hold the secret."""

NOBODY = 65534
TOKEN = "the token of the model's server"
HERE, SECOND = "127.0.0.1", "127.0.0.2"
NAMES = {HERE: "other.example", SECOND: "second.example"}
"""Names of other people's for addresses of this machine, as a browser may be told."""
JSON = {"content-type": "application/json"}

needs_chromium = pytest.mark.skipif(chromium() is None, reason="no Chromium to try it with")


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """A project in a folder that every user may enter, with its servers."""
    with tempfile.TemporaryDirectory(prefix="fdbpl-strangers-") as folder:
        Path(folder).chmod(0o755)
        made = Project(Path(folder) / "fdbpl")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(made.folder))
            try:
                made.up("--host", SECOND)
                yield made
            finally:
                made.run("fdbpl", "down")


@pytest.fixture(scope="module")
def addresses(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What listens: Prefect, MLflow, and a model's server whose owner set a token."""
    urls = project.servers["urls"]
    with serving(tmp_path_factory.mktemp("model") / "colours", TOKEN) as served:
        yield {"Prefect": urls["Prefect"], "MLflow": urls["MLflow"], "serve": served.rstrip("/")}


def asking(addresses: dict[str, str]) -> list[tuple[str, str, str]]:
    """What a stranger might ask: method, address, body."""
    prefect, mlflow, served = (addresses[name] for name in ("Prefect", "MLflow", "serve"))
    made = "/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts/model/model.safetensors"
    return [
        ("POST", f"{prefect}/api/deployments/filter", "{}"),
        ("POST", f"{prefect}/api/flow_runs/", '{"flow_id": "x"}'),
        ("PATCH", f"{prefect}/api/work_pools/local-pool", '{"base_job_template": {}}'),
        ("GET", f"{prefect}/api/admin/settings", ""),
        ("GET", f"{prefect}/api/openapi.json", ""),
        ("GET", f"{mlflow}/", ""),
        ("GET", f"{mlflow}/health", ""),
        ("GET", f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=1", ""),
        ("POST", f"{mlflow}/api/2.0/mlflow/runs/create", "{}"),
        ("PUT", f"{mlflow}{made}", "another model"),
        ("POST", f"{mlflow}/ajax-api/3.0/mlflow/assistant/message", "{}"),
        ("POST", f"{served}/predict", "a picture"),
        ("GET", f"{served}/model", ""),
        ("GET", f"{served}/metrics", ""),
    ]


WRONG = ("", "Basic Og==", "Bearer wrong", "Basic d3Jvbmc=")


def as_a_stranger(
    answer: Connection, asked: list[tuple[str, str, str]], ports: list[int], files: list[Path]
) -> None:
    """As another user ask, with wrong secrets, speak to ports, and read files; tell what came."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    statuses = {(*one, shown): status(*one, shown) for one in asked for shown in WRONG}
    answer.send((statuses, [said(port) for port in ports], [one for one in files if reads(one)]))


def status(method: str, url: str, body: str, shown: str) -> int:
    headers = {**JSON, **({"authorization": shown} if shown else {})}
    request = urllib.request.Request(url, body.encode() or None, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def said(port: int) -> bytes:
    with socket.create_connection((HERE, port), timeout=20) as other:
        try:
            other.sendall(bytes(200))
            return other.recv(100)
        except ConnectionError:
            return b""


def reads(path: Path) -> bool:
    try:
        path.open().close()
    except PermissionError:
        return False
    return True


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_of_the_machine_gets_into_no_port_and_reads_no_secret(
    project: Project, addresses: dict[str, str]
) -> None:
    ports = {
        connection.laddr.port
        for process in processes.marked(project.servers["mark"])
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    asked = asking(addresses)
    others = ports - {urlsplit(url).port for _, url, _ in asked}
    private = [*HOLDERS, *(FOLDER / f"{name}.log" for name in ("prefect", "mlflow", "worker"))]
    files = [project.folder / path for path in private]
    assert all(map(reads, files))
    context = multiprocessing.get_context("fork")  # another user may not start this Python
    here, there = context.Pipe()
    context.Process(target=as_a_stranger, args=(there, asked, sorted(others), files)).start()
    assert here.poll(60)
    statuses, words, read = here.recv()
    assert {one: code for one, code in statuses.items() if code not in (401, 403)} == {}
    assert len(statuses) == len(WRONG) * len(asked)
    assert len(words) <= 1  # the worker's own protocol, in which it speaks to runs it started
    assert b"".join(words) == b""
    assert read == []


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize("path", ["events/out", "events/in", "logs/out"])
def test_prefects_websockets_want_the_secret_too(
    project: Project, path: str, token: str | None
) -> None:
    url = project.servers["urls"]["Prefect"].replace("http", "ws")
    with (
        pytest.raises(ConnectionClosed) as closed,
        connect(f"{url}/api/{path}", subprotocols=["prefect"], proxy=None) as opened,  # type: ignore[list-item]
    ):
        opened.send(json.dumps({"type": "auth", "token": token}))
        opened.recv(timeout=20)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1008


def test_a_run_cannot_name_a_command_of_its_own(project: Project) -> None:
    deployment = project.api("deployments/name/benchmark/playground")["id"]
    for variables in ({"command": "touch made"}, {"env": {"PATH": "/elsewhere"}}):
        with pytest.raises(OSError, match="422"):
            project.api(f"deployments/{deployment}/create_flow_run", {"job_variables": variables})


def test_no_process_shows_the_secret_nor_does_a_log_and_watching_says_why_a_run_failed(
    project: Project,
) -> None:
    secret, seen, over = project.servers["secret"], set(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    seen.add(" ".join(process.cmdline()))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    words = ("benchmark/one-dataset", "--param", 'datasets=["moons"]', "--watch")
    done = project.run("prefect", "deployment", "run", *words)
    over.set()
    watcher.join()
    assert done.returncode == 1
    assert "moons not in params.yaml, which lists textures, icons" in " ".join(done.stdout.split())
    for name in ("guarded prefect", "guarded mlflow", "worker start", "deployment run", "engine"):
        assert any(name in words for words in seen)
    assert [words for words in seen if secret in words] == []
    holders = {path for path in project.folder.rglob("*") if path.is_file()}
    found = {path for path in holders if secret.encode() in path.read_bytes()}
    assert found == {project.folder / path for path in HOLDERS}
    assert secret not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def page(project: Project, addresses: dict[str, str]) -> Iterator[Page]:
    """A browser in which the project's owner has signed in to both pages."""
    secret = project.servers["secret"]
    rules = ", ".join(f"MAP {name} {address}" for address, name in NAMES.items())
    with browser(f"--host-resolver-rules={rules}") as opened:
        opened.open(addresses["Prefect"], ["Login"])
        opened.evaluate("document.querySelector('input').focus()")
        opened.ask("Input.insertText", text=secret)
        opened.evaluate("document.querySelector('button').click()")
        until_shown(opened, "Dashboard")
        # as a browser does once its user has answered its question for a password
        scheme, _, rest = addresses["MLflow"].partition("://")
        opened.ask("Page.navigate", url=f"{scheme}://me:{secret}@{rest}/")
        until_shown(opened, "Experiments")
        yield opened


@needs_chromium
def test_the_owner_sees_both_pages_after_signing_in(
    page: Page, project: Project, addresses: dict[str, str]
) -> None:
    project.start(datasets=["moons"])
    page.open(f"{addresses['Prefect']}/v2/deployments", ["one-dataset", "playground"])
    page.open(f"{addresses['Prefect']}/runs", ["benchmark", "local-pool"])
    page.open(f"{addresses['MLflow']}/#/experiments/0", ["Default"])


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """A page of another origin, on another port of this machine."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<body>a page of another origin</body>")

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HERE, 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f":{server.server_port}/"
    server.shutdown()


FETCH = """
fetch({url}, {{method: {method}, mode: {mode}, credentials: "include", body: {body} || undefined,
    headers: {{"content-type": {kind}}}}})
.then(async answer => [answer.type, answer.status, await answer.text()], () => "refused")
"""
FORM = """
(() => {{
    const form = document.body.appendChild(document.createElement("form"));
    Object.assign(form, {{method: "post", action: {url}, enctype: "text/plain"}});
    form.appendChild(Object.assign(document.createElement("input"), {{name: {body}}}));
    form.submit();
}})()
"""


def filled(script: str, **values: str) -> str:
    return script.format(**{name: json.dumps(value) for name, value in values.items()})


@needs_chromium
@pytest.mark.parametrize("host", [NAMES[HERE], HERE])
def test_a_page_of_another_origin_gets_nothing_though_the_owner_is_signed_in(
    page: Page, project: Project, addresses: dict[str, str], elsewhere: str, host: str
) -> None:
    deployment = project.api("deployments/name/benchmark/playground")["id"]
    start = f"{addresses['Prefect']}/api/deployments/{deployment}/create_flow_run"
    asked = [*asking(addresses), ("POST", start, "{}")]
    runs = project.api("flow_runs/count", {})
    page.open(f"http://{host}{elsewhere}", ["a page of another origin"])
    for method, url, body in asked:
        words = {"url": url, "method": method, "body": body}
        for kind in ("application/json", "text/plain"):
            assert page.evaluate(filled(FETCH, mode="cors", kind=kind, **words)) == "refused"
        if method in ("GET", "POST"):
            told = page.evaluate(filled(FETCH, mode="no-cors", kind="text/plain", **words))
            assert told in (["opaque", 0, ""], "refused")
        if method == "POST":
            page.evaluate(filled(FORM, url=url, body=body))
            until_shown(page, "a page of another origin may not ask")
            page.open(f"http://{host}{elsewhere}", ["a page of another origin"])
    assert project.api("flow_runs/count", {}) == runs


@needs_chromium
def test_under_another_name_nothing_is_answered(page: Page, addresses: dict[str, str]) -> None:
    for address in addresses.values():
        host = str(urlsplit(address).hostname)
        page.open(address.replace(host, NAMES[host]), [f"Host is '{NAMES[host]}'"])


@needs_chromium
def test_a_page_of_its_own_that_shows_no_token_gets_nothing(
    page: Page, addresses: dict[str, str]
) -> None:
    page.open(addresses["serve"], ["This server wants a token."])
    told = page.evaluate("fetch('/predict', {method: 'POST', body: 'x'}).then(one => one.status)")
    assert told == 401


def until_shown(page: Page, words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in page.text():
        assert time.monotonic() < deadline, page.text()[:500]
        time.sleep(0.1)
