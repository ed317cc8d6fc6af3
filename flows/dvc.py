"""Calling DVC: on a leash, its lines passed on as they come, its failures told apart."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fdbpl.settings.params import DEFAULT_PATH, read_params
from fdbpl.settings.resolved import RESOLVED, resolved
from flows import dvc_files, parameters
from flows.code import bring_code_up_to_date, has_stage

TAIL = 30
BUSY = ("is busy", "Unable to acquire lock", "Unable to read RWLock-file")
CACHING = ("prepare-crops", "cache-teacher")
TRAINING = ("train-student",)
_held: set["subprocess.Popen[str]"] = set()
_ending = threading.Event()


class DvcFailed(Exception):  # noqa: N818 - what happened
    """DVC ended with an error; the message is its last lines."""


class DvcBusy(DvcFailed):
    """Another DVC is writing what this one needs: trying again later helps."""


def repro(*words: str, seconds: float, log: Callable[[str], None]) -> None:
    """Run `dvc repro` with these words, waiting for other DVCs to let go of the repository.

    Args:
        words: targets and options.
        seconds: after which DVC and its stage are ended.
        log: called with every line.

    Raises:
        DvcBusy: another DVC writes an output that this one reads or writes.
        DvcFailed: a stage failed, or the time is up.
    """
    _run("repro", *words, seconds=seconds, log=log)


def learning(dataset: str, source: str) -> list[str]:
    """Return the words for `repro` that learn on a dataset, when the source's caches are there.

    Every training may read those, so that nobody may write them then.
    """
    return single_items(TRAINING if dataset == source else (*CACHING, *TRAINING), dataset)


def single_items(stages: Sequence[str], dataset: str) -> list[str]:
    """Return the words for `repro` that bring these stages of a dataset up to date.

    Single items, in order: a DVC that looked at what datasets have in common, as they have a
    project's stage `code`, would want to write it, which only one at a time may.
    """
    return ["--single-item", *(f"{stage}@{dataset}" for stage in stages)]


def bring_parameters_up_to_date(log: Callable[[str], None], seconds: float = 600) -> None:
    """Have DVC write the parameters that all stages read, where they are others.

    Or where dvc.lock lacks them, as a kill while it was written may leave it.

    Before lanes or tasks that run single items, none of which would.

    Raises:
        UserError: `params.yaml` is wrong.
        DvcBusy, DvcFailed: as above.
    """
    wanted = resolved(read_params(DEFAULT_PATH))
    there = RESOLVED.read_bytes() if RESOLVED.is_file() else b""
    if (there != wanted or not dvc_files.locks("parameters")) and has_stage(parameters.COMMAND):
        repro("--single-item", "parameters", seconds=seconds, log=log)


def changed_stages(seconds: float = 600) -> list[str]:
    """Return the names of the stages that are not up to date, and never a project's `code`.

    That one always runs, and what it writes is up to date whenever this asks.

    Raises:
        DvcBusy, DvcFailed: as above.
    """
    lines = _run("status", "--json", seconds=seconds, log=lambda line: None)
    found = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    return [stage for stage in found if stage != "code"]


def end_all() -> None:
    """End every DVC that this process holds, and start no more."""
    _ending.set()
    for process in list(_held):
        _let_go(process)


def _run(*words: str, seconds: float, log: Callable[[str], None]) -> list[str]:
    """Run DVC to its end; return its last lines."""
    for line in dvc_files.mend_rwlock():
        log(line)
    bring_code_up_to_date()
    lines: list[str] = []
    late = threading.Event()
    with _leashed(*words) as process:

        def stop() -> None:
            late.set()
            _let_go(process)

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout or ():
                log(line.rstrip())
                lines = [*lines[1 - TAIL :], line.rstrip()]
            code = process.wait()
        finally:
            timer.cancel()
    tail = "\n".join(line for line in lines if line)
    if late.is_set():
        raise DvcFailed(f"not done after {seconds:.0f} seconds, so it was ended.\n{tail}")
    if code:
        busy = any(sign in tail for sign in BUSY)
        raise DvcBusy(tail) if busy else DvcFailed(tail)
    return lines


@contextmanager
def _leashed(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """Start DVC on a leash; however the block ends, DVC and its stage have ended too."""
    if _ending.is_set():
        raise DvcFailed("not started: this run is ending.")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    dvc = [sys.executable, "-m", "dvc", "--wait-for-lock", *words]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.leash", *dvc],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"},
    )
    _held.add(process)
    try:
        yield process
    finally:
        _let_go(process)
        process.wait()
        _held.discard(process)


def _let_go(process: "subprocess.Popen[str]") -> None:
    """Close the leash: it ends the process group."""
    if process.stdin:
        with suppress(OSError):
            process.stdin.close()
