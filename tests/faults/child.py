"""Commands of the project, run in children of one process that has imported everything.

A child costs milliseconds where a new Python costs seconds, and dies of a signal like any other
process. Stages that DVC starts are children of its own child.
"""

import gc
import io
import os
import pkgutil
import runpy
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

SECONDS = 300.0
"""After which a command is ended, as one that hangs."""

MODULES = ("torch", "open_clip", "onnxruntime", "scipy.stats", "matplotlib.pyplot", "mlflow")
MODULES += ("dvc.cli", "dvc.stage.run", "dvc.repo.reproduce", "flows.stage", "flows.lanes")
FAILED = 1


@dataclass(frozen=True)
class Ran:
    """What became of a command: exit code, or minus the signal; what it said; seconds it took."""

    code: int
    out: str
    err: str
    seconds: float = 0.0


def import_all() -> None:
    """Import what commands import, so that their children need not."""
    import fdbpl

    modules = [found.name for found in pkgutil.walk_packages(fdbpl.__path__, "fdbpl.")]
    for name in (*MODULES, *modules):
        if not name.endswith("__main__"):
            import_module(name)
    import torch

    torch.set_num_threads(1)  # threads do not survive a fork
    gc.collect()
    gc.freeze()  # or each child copies what it looks through for garbage


def run(
    words: Sequence[str],
    folder: Path,
    *,
    first: Callable[[], None] = lambda: None,
    seconds: float = SECONDS,
) -> Ran:
    """Run `fdbpl WORDS`, `dvc WORDS` or `python -m MODULE WORDS` in a folder.

    first: called in the child before; seconds: after which it and all that it started are killed.
    """
    pipes = [os.pipe() for _ in ("out", "err")]  # no files: those may be allowed only so long
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        end_as(lambda: _command(words, folder, [to for _, to in pipes], first))
    for _, to in pipes:
        os.close(to)
    said = [_Said(source) for source, _ in pipes]
    code = _waited(child, begun + seconds)
    out, err = (one.text() for one in said)
    return Ran(code, out, err, time.monotonic() - begun)


class _Said(threading.Thread):
    """Reads what a command says, for as long as anybody may say something."""

    def __init__(self, source: int) -> None:
        super().__init__(daemon=True)
        self._source, self._parts = source, list[bytes]()
        self.start()

    def run(self) -> None:
        while part := os.read(self._source, 1 << 16):
            self._parts.append(part)
        os.close(self._source)

    def text(self) -> str:
        """Return all that was said; a server that a command leaves behind may say more."""
        self.join(1.0)
        return b"".join(self._parts).decode("utf-8", "surrogateescape")


def _waited(child: int, until: float) -> int:
    """Wait for a child, and kill its group when time is up, or this process is interrupted."""
    try:
        while (left := until - time.monotonic()) > 0:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(min(0.002, left))
        _kill_group(child)
    except BaseException:
        _kill_group(child)
        raise
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _kill_group(child: int) -> None:
    with suppress(ProcessLookupError):  # it has ended, or has no group of its own yet
        os.killpg(child, signal.SIGKILL)


def end_as(action: Callable[[], int]) -> None:
    """End this process as a Python ends after `action`, but at once."""
    code = FAILED
    try:
        code = action()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _command(
    words: Sequence[str], folder: Path, said: Sequence[int], first: Callable[[], None]
) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, to in enumerate(said, 1):
        os.dup2(to, number)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8", "surrogateescape",
                         write_through=True)
        for number in (1, 2)
    )  # fmt: skip
    os.chdir(folder)
    first()
    return _called(words)


def _called(words: Sequence[str]) -> int:
    program, *rest = words
    if program == "fdbpl":
        from fdbpl.cli import main

        main(rest, prog_name="fdbpl")
    elif program == "dvc":
        return _dvc(rest)
    elif words[:2] == ["python", "-m"]:
        sys.argv = rest[1:]
        sys.modules.pop(rest[1], None)  # or Python warns
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        raise ValueError(f"{shlex.join(words)}: no command that a child can be")
    return 0


def _dvc(words: list[str]) -> int:
    """Be DVC, whose stages are children where it would start a shell and a new Python."""
    import dvc.stage.run as stages
    from dvc.cli import main
    from dvc.stage.exceptions import StageCmdFailedError

    def stage(_shell: object, command: str, **options: Any) -> None:
        def begin() -> int:
            os.chdir(options["cwd"])
            os.environ.clear()
            os.environ.update(options["env"])
            return _called(shlex.split(command))

        child = os.fork()
        if child == 0:
            end_as(begin)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise StageCmdFailedError(command, code)

    stages._run = stage
    return int(main(words))
