"""MLflow's own pages in a real browser: does a reader find all eleven datasets?"""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspaces import evaluated_workspace, workspace_params

from bench.screens import Page, browser, chromium, compare_url, summaries_url
from fdbpl.tracking import artifacts_uri, record, store_uri
from fdbpl.tracking.records import read_records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium to look at MLflow's pages with"),
]

ELEVEN = [
    *("objects", "icons", "animals", "vehicles", "flowers", "dishes"),
    *("aircraft", "scenes", "textures", "landcover", "figures"),
]
METRICS = ("base_acc", "h", "joint_h", "new_acc")
TALL = (1800, 14000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's server over a recorded workspace of eleven datasets."""
    folder = tmp_path_factory.mktemp("screens")
    with pytest.MonkeyPatch.context() as patch, socket.socket() as probe:
        patch.chdir(folder)
        patch.delenv("FDBPL_MLFLOW", raising=False)
        params = workspace_params(Path(), ELEVEN)
        records = read_records(params, evaluated_workspace(Path(), params))
        assert record(records, "fdbpl").written == 11 * 3 * 2 + 3
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        patch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        words += ["--backend-store-uri", store_uri(), "--artifacts-destination", artifacts_uri()]
        process = subprocess.Popen([sys.executable, "-m", "mlflow", "server", *words])
    try:
        yield answering(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def answering(url: str) -> str:
    deadline = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{url}/health").close()
            return url
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.3)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        opened.resize(*TALL)
        yield opened


def experiment(server: str) -> str:
    url = f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name=fdbpl"
    with urllib.request.urlopen(url) as answer:
        return str(json.load(answer)["experiment"]["experiment_id"])


def test_the_summary_page_draws_every_dataset_for_every_method(server: str, page: Page) -> None:
    bars = [f"{metric}/{dataset}" for metric in METRICS for dataset in ELEVEN]
    methods = ["CoOp · 11 datasets", "FDBPL, ours · 11 datasets", "zero-shot · 11 datasets"]
    page.open(summaries_url(server, experiment(server)), [*bars, *methods, "3 matching runs"])


def test_the_compare_page_sets_eleven_datasets_side_by_side(server: str, page: Page) -> None:
    runs = [f"{dataset} coop seed 1" for dataset in ELEVEN]
    page.open(
        compare_url(server, experiment(server), "coop"),
        ["Comparing 11 Runs", *runs, "base_acc", "new_acc"],
    )
