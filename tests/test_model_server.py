"""MLflow's own server with a registered model: a PNG is answered as by fdbpl predict."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_run import DATASET, DrawnRun, drawn_run

from fdbpl.tracking import runs as tracking
from fdbpl.tracking.records import read_records

pytestmark = pytest.mark.slow

PATIENCE = 120.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrawnRun]:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("FDBPL_MLFLOW", raising=False)
        run = drawn_run(folder, methods=["fdbpl"], protocols=["all-classes"])
        tracking.record(read_records(run.params, run.work), "fdbpl", register=("fdbpl",))
        yield run


@pytest.fixture(scope="module")
def address(run: DrawnRun) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    bin_folder = Path(sys.executable).parent
    model = f"models:/fdbpl-{DATASET}-fdbpl@current"
    with Path("serve.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(str(bin_folder / "mlflow"), "models", "serve", "--env-manager", "local"),
                *("--model-uri", model, "--host", "127.0.0.1", "--port", port),
            ],
            env={
                **os.environ,
                "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
                "MLFLOW_TRACKING_URI": tracking.store_uri(),
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/ping")
            yield f"{url}/invocations"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def _wait(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            assert time.monotonic() < deadline, Path("serve.log").read_text()
            time.sleep(0.2)


def post(address: str, body: object) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["predictions"]


def refused(address: str, body: object) -> str:
    with pytest.raises(urllib.error.HTTPError) as raised:
        post(address, body)
    assert raised.value.code == 400
    return raised.value.read().decode()


def text_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def fdbpl(*words: str) -> str:
    command = [sys.executable, "-m", "fdbpl", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_png_is_answered_as_fdbpl_predict_answers_it(run: DrawnRun, address: str) -> None:
    pictures = run.pictures[:5]
    images = [[text_of(one)] for one in pictures]
    found = post(address, {"dataframe_split": {"columns": ["image"], "data": images}})
    fdbpl("pack", DATASET, "--run", "drawn", "--out", "packed")
    lines = fdbpl("predict", "packed", *map(str, pictures), "--json", "--top", "20").splitlines()
    assert len(found) == len(lines) == 5
    for row, line in zip(found, lines, strict=True):
        told = json.loads(line)
        assert row["class"] == told["top"][0][0]
        assert row["known"] is told["known"]
        assert row["score"] == pytest.approx(told["score"], abs=1e-4)
        for name, probability in told["top"]:
            assert row[f"probability/{name}"] == pytest.approx(probability, abs=2e-6)


def test_the_forms_of_a_request_are_one(run: DrawnRun, address: str) -> None:
    text = text_of(run.pictures[0])
    answers = [
        post(address, body)
        for body in (
            {"inputs": [text]},
            {"inputs": {"image": [text]}},
            {"dataframe_records": [{"image": text}], "params": {"keep": 95}},
        )
    ]
    assert answers[0] == answers[1] == answers[2]


def test_a_server_reads_no_file_by_its_path(run: DrawnRun, address: str) -> None:
    path = str(run.pictures[0])
    for body in (
        {"inputs": [path]},
        {"inputs": [f"file://{path}"]},
        {"inputs": [path], "params": {"allow_paths": True}},
        {"inputs": [path], "params": {"keep": 95}},
    ):
        assert "row 0: " in refused(address, body)
    there, not_there = (refused(address, {"inputs": [one]}) for one in (path, f"{path[:-1]}_"))
    assert there.replace(path, "") == not_there.replace(f"{path[:-1]}_", "")


def test_what_is_no_picture_is_named_by_its_row(run: DrawnRun, address: str) -> None:
    text = text_of(run.pictures[0])
    said = refused(address, {"inputs": [text, text[:400]]})
    assert "row 1: cannot be decoded (300 bytes" in said
    assert "Traceback" not in said
