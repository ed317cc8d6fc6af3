import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fdbpl.cache.workers import process_pool
from fdbpl.system import processes
from fdbpl.system.processes import Started

FAMILY = (
    "import subprocess, sys, time; print('here', flush=True); "
    "subprocess.run([sys.executable, '-c', 'import time; time.sleep(100)'])"
)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    command = [sys.executable, "-c", FAMILY]
    yield processes.start(command, {}, mark=str(tmp_path), log=tmp_path / "logs/one.log")
    processes.end(processes.marked(str(tmp_path)))


def test_what_was_started_is_found_and_ended_with_its_children(
    started: Started, tmp_path: Path
) -> None:
    deadline = time.monotonic() + 30
    while len(processes.marked(str(tmp_path))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process = started.process()
    assert process
    assert process.pid in [one.pid for one in processes.marked(str(tmp_path))]
    assert (tmp_path / "logs/one.log").read_text() == "here\n"
    processes.end(processes.marked(str(tmp_path)))
    assert processes.marked(str(tmp_path)) == []
    assert started.process() is None


def test_another_process_of_the_same_id_or_mark_is_not_ours(started: Started) -> None:
    assert Started(started.pid, "another").process() is None
    assert Started(os.getpid(), started.mark).process() is None
    assert processes.marked("another") == []


def test_a_clock_that_is_set_loses_no_process(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "create_time", lambda process: 0.0)
        assert started.process()


def test_a_process_that_ends_while_it_is_looked_at_is_none_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ending:
        pid = 0

        def environ(self) -> dict[str, str]:
            return {processes.MARK: "ours"}

        def status(self) -> str:
            raise psutil.NoSuchProcess(self.pid)

    monkeypatch.setattr(psutil, "process_iter", lambda: [Ending()])
    assert processes.marked("ours") == []


def test_a_deaf_process_is_made_to_end(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    log = tmp_path / "log"
    started = processes.start(
        [sys.executable, "-c", f"{deaf}; time.sleep(100)"], {}, mark=str(tmp_path), log=log
    )
    while not log.read_text():
        time.sleep(0.05)
    processes.end([psutil.Process(started.pid)], grace=0.4)
    assert started.process() is None


def test_cores_are_counted_where_the_system_tells_none_of_this_process(monkeypatch) -> None:
    assert 1 <= processes.cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    assert processes.cores() == os.cpu_count()
    with process_pool(1) as pool:
        assert pool.count == 1
