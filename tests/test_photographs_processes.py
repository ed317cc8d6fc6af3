"""Processes of the study: they share the cores, and end with whoever started them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from studies.photographs.processes import processes

SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")

STARTS = """
import os, time
from studies.photographs.processes import processes
if __name__ == "__main__":
    with processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60).result()
"""


def test_they_share_the_cores_and_leave_no_setting_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    before = dict(os.environ)
    with processes(2) as pool:
        found = [pool.submit(os.getenv, name).result() for name in SETTINGS]
    assert found == ["3", "passive"]
    assert dict(os.environ) == before


def test_they_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(STARTS)
    root = Path(__file__).parents[1]
    started = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert started.stdout is not None
    child = psutil.Process(int(started.stdout.readline()))
    started.kill()
    started.wait()
    deadline = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)
