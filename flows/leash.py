"""python -m flows.leash COMMAND...: run a command that cannot outlive whoever holds the leash.

The holder keeps a pipe to this process's standard input. When it lets go of the pipe, or dies in
whatever way, the command's whole process group ends: DVC alone would leave its stage running.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

GRACE_SECONDS = 10


def main() -> None:
    """Run the command line's words; end with the exit code of the command."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: end_group(child.pid))
    signal.signal(signal.SIGINT, lambda *_: end_group(child.pid))
    threading.Thread(target=_watch, args=(child.pid,), daemon=True).start()
    code = child.wait()
    end_group(child.pid)  # a command that was killed may have left children
    sys.exit(code if code >= 0 else 128 - code)


def _watch(group: int) -> None:
    os.read(0, 1)  # nobody writes: this returns when the pipe is closed
    end_group(group)


def end_group(group: int, grace: float = GRACE_SECONDS) -> None:
    """Ask all processes of a group to end, its leader last, and after so many seconds make them.

    A DVC whose stage has ended puts its lock file in order and ends too; one that is told to end
    may leave half of that file.
    """
    with contextlib.suppress(ProcessLookupError):
        below = _below(group)
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        if below:
            _wait_for_end(group, grace / 2)
        os.killpg(group, signal.SIGTERM)
        _wait_for_end(group, grace / 2)
        os.killpg(group, signal.SIGKILL)


def _below(leader: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(psutil.Process(leader).children(recursive=True))
    return []


def _wait_for_end(group: int, seconds: float) -> None:
    """Wait; raise ProcessLookupError when the group has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        os.killpg(group, 0)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
