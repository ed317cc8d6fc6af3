import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows.leash import end_group

PROJECT = Path(__file__).resolve().parents[1]

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print(child.pid, flush=True)
time.sleep(100)
"""


def leashed(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "flows.leash", sys.executable, "-c", code],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_commands(code: int) -> None:
    with leashed(f"raise SystemExit({code})") as process:
        assert process.wait() == code


def test_letting_go_ends_the_command_and_its_children() -> None:
    with leashed(FAMILY) as process:
        assert process.stdin
        assert process.stdout
        grandchild = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait() != 0
        until(lambda: gone(grandchild))


def test_a_killed_holder_lets_go() -> None:
    holder = (
        "import subprocess, sys, time\n"
        "words = [sys.executable, '-m', 'flows.leash', sys.executable, '-c', sys.argv[1]]\n"
        "held = subprocess.Popen(words, stdin=subprocess.PIPE)\n"
        "time.sleep(100)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, FAMILY], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        grandchild = int(process.stdout.readline())
        process.kill()
        until(lambda: gone(grandchild))


def test_a_killed_command_takes_its_children_along() -> None:
    with leashed(FAMILY) as process:
        assert process.stdout
        grandchild = psutil.Process(int(process.stdout.readline()))
        command = grandchild.parent()
        assert command
        command.kill()
        assert process.wait() == 128 + 9
        until(lambda: gone(grandchild.pid))


def test_what_does_not_listen_is_made_to_end() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{deaf}; time.sleep(100)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        end_group(os.getpgid(process.pid), grace=0.2)
        assert process.wait() == -9
