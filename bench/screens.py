"""Pictures of MLflow's interface for docs/: python -m bench.screens, after fdbpl up and a run.

Drives a headless Chromium through its debugging protocol.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from mlflow import MlflowClient
from websockets.sync.client import ClientConnection, connect

from fdbpl.cli.options import Command
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole
from fdbpl.tracking import EXPERIMENT
from flows.servers import State

NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1800, 1500)  # pixels
SECONDS = 60.0
CLOSE_ASSISTANT = (
    "document.querySelector('[data-component-id=\"mlflow.assistant.chat_panel.close\"]')?.click()"
)
SHOW_H = (
    "[...document.querySelectorAll('*')].filter(one => one.textContent === 'h(11)').pop()"
    "?.scrollIntoView()"
)


def chromium() -> str | None:
    """Return the browser's program, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._asked = 0
        self.events: list[dict[str, Any]] = []
        """What the browser told unasked, since a domain of its was enabled."""

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the debugging protocol; return its answer."""
        self._asked += 1
        command = {"id": self._asked, "method": method, "params": params}
        self._connection.send(json.dumps(command))
        while True:
            answer = json.loads(self._connection.recv(timeout=SECONDS))
            if "method" in answer:
                self.events.append(answer)
            if answer.get("id") == self._asked:
                return dict(answer["result"])

    def evaluate(self, script: str) -> Any:
        """Run JavaScript; return its value, awaited where it is a promise."""
        done = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script[:100]}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files in the input that a selector finds."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def text(self) -> str:
        """Return what a reader sees, hidden overflow included."""
        return str(self.evaluate("document.body?.textContent ?? ''"))

    def open(self, url: str, words: Sequence[str]) -> None:
        """Open an address and wait until it shows all these words.

        Raises:
            TimeoutError: it did not in a minute.
        """
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)
        deadline = time.monotonic() + SECONDS
        while missing := [word for word in words if word not in self.text()]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} lacks {missing}; it says: {self.text()[:2000]}")
            time.sleep(0.3)

    def resize(self, width: int, height: int) -> None:
        """Make the window so many pixels large: MLflow draws only the charts in sight."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def picture(self) -> bytes:
        """Return a PNG of the window."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser(*options: str) -> Iterator[Page]:
    """Start a headless browser with these options too, and give its page; end it afterwards."""
    program = chromium()
    if not program:
        raise UserError(f"no browser: wanted one of {', '.join(NAMES)}. Install chromium.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={profile}", f"--remote-debugging-port={port}"),
            *(*options, "about:blank"),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_page_address(port), max_size=None, proxy=None) as connection:
                page = Page(connection)
                page.resize(*SIZE)
                yield page
        finally:
            process.terminate()
            process.wait()


def _page_address(port: int) -> str:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [one for one in json.load(answer) if one["type"] == "page"]
                return str(pages[0]["webSocketDebuggerUrl"])
        except (OSError, IndexError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def summaries_url(server: str, experiment: str) -> str:
    """Return the address of the charts of all methods' summary runs."""
    query = {
        "searchFilter": "tags.kind = 'summary' and tags.current = 'yes'",
        "compareRunsMode": "CHART",
    }
    return f"{server}/#/experiments/{experiment}/runs?{urllib.parse.urlencode(query)}"


def compare_url(server: str, experiment: str, method: str, seed: str = "1") -> str:
    """Return the address of the comparison of one method's runs, a dataset each."""
    told = {"method": method, "seed": seed, "setting": "base-to-new", "current": "yes"}
    wanted = " and ".join(f"tags.{name} = '{value}'" for name, value in told.items())
    runs = MlflowClient(server).search_runs([experiment], wanted)
    chosen = sorted(runs, key=lambda run: str(run.info.run_name))
    query = {
        "runs": json.dumps([run.info.run_id for run in chosen]),
        "experiments": json.dumps([experiment]),
    }
    return f"{server}/#/compare-runs?{urllib.parse.urlencode(query)}"


@click.command(cls=Command)
def main() -> None:
    """Write docs/mlflow-summaries.png and docs/mlflow-compare.png."""
    state = State.load()
    if state is None:
        raise UserError("no server. Run fdbpl up first.")
    server = state.urls["MLflow"]
    os.environ["MLFLOW_TRACKING_TOKEN"] = state.secret
    experiment = MlflowClient(server).get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise UserError("nothing recorded yet. Run fdbpl record first.")
    identifier = str(experiment.experiment_id)
    with browser() as page:
        page.ask("Network.enable")
        shown = {"Authorization": f"Bearer {state.secret}"}
        page.ask("Network.setExtraHTTPHeaders", headers=shown)
        page.open(summaries_url(server, identifier), ["avg/h", "h(11)"])
        page.evaluate(CLOSE_ASSISTANT)
        page.evaluate(SHOW_H)
        _save(page, "summaries")
        page.open(compare_url(server, identifier, "fdbpl"), ["Comparing 11 Runs", "base_acc"])
        page.evaluate(CLOSE_ASSISTANT)
        _save(page, "compare")


def _save(page: Page, name: str) -> None:
    time.sleep(5)  # charts move into place
    write_whole(Path(f"docs/mlflow-{name}.png"), page.picture())


if __name__ == "__main__":
    main()
