"""Processes that outlive the command that started them, and are found again to be ended.

A process is known by its id and a mark in its environment, since ids are used again and clocks are
set. All that descend from it carry the mark too, so that none is left behind when its parent was
killed.
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


def cores() -> int:
    """Return how many cores this process may use; all, where the system does not say."""
    if hasattr(os, "sched_getaffinity"):  # Linux, where containers have some of the machine's
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Started:
    """A process: its id, and the mark it carries."""

    pid: int
    mark: str

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs, and is this one."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if _carries(process, self.mark):
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
    started = Started(child.pid, mark)
    while child.poll() is None and not started.process():
        time.sleep(0.01)  # the system shows its environment a moment after it runs
    return started


def marked(mark: str) -> list[psutil.Process]:
    """Return all living processes that carry `mark`, this one excepted."""
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in others if _carries(process, mark)]


def started_here() -> list[psutil.Process]:
    """Return all living processes of every mark that a process in the current folder carries."""
    marks = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if MARK in (environment := process.environ()) and Path(process.cwd()) == Path.cwd():
                marks.add(environment[MARK])
    return [process for mark in marks for process in marked(mark)]


def _carries(process: psutil.Process, mark: str) -> bool:
    """Tell whether a process lives and carries `mark`; one that ends meanwhile does not."""
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


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
