"""Processes that outlive the command that started them, and are found again to be ended.

A process is known by its id and the moment it started, since ids are used again. All that descend
from it carry a mark in their environment, so that none is left behind when its parent was killed.
"""

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "FDBPL_SERVERS"
WORKER = "FDBPL_WORKER"
"""Environment variable with a worker process's number, by which those of one machine share GPUs."""

GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Started:
    """A process: its id, and when it started in seconds since 1970."""

    pid: int
    since: float

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs, and is this one."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.since) < 0.1
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def start(command: Sequence[str], environment: Mapping[str, str], mark: str, log: Path) -> Started:
    """Start a command in a session of its own, its output in a file, and leave it running."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        child = subprocess.Popen(
            command,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(child.pid, psutil.Process(child.pid).create_time())


def marked(mark: str) -> list[psutil.Process]:
    """Return all living processes that carry `mark`, this one excepted."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            carries = process.environ().get(MARK) == mark
            if carries and process.pid != os.getpid():
                found.append(process)
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def end(processes: Iterable[psutil.Process], grace: float = GRACE_SECONDS) -> None:
    """Ask processes to end, ask again halfway, and then make them; return when they have ended.

    A Prefect worker takes the first request as one to finish what it runs.
    """
    left = list(processes)
    for signal in (psutil.Process.terminate, psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                signal(process)
        left = wait(left, grace / 2)
        if not left:
            return


def wait(processes: list[psutil.Process], seconds: float = GRACE_SECONDS) -> list[psutil.Process]:
    """Wait until all processes have ended, so many seconds at most; return those that have not."""
    deadline = time.monotonic() + seconds
    while processes and time.monotonic() < deadline:
        processes = [process for process in processes if _lives(process)]
        time.sleep(0.1)
    return processes


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
