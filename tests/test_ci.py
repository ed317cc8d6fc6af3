"""What .ci/run makes of failures, with stand-ins for make and pytest."""

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

PYTEST = """#!/usr/bin/env bash
suite=$(basename "$2")
echo "$suite speaks"
echo "$suite ${*:3}" >>calls
code=$(head -n 1 "codes/$suite")
sed -i 1d "codes/$suite"
exit "${code:-0}"
"""
"""Ends with the code that stands for this try, 0 where none does."""

MAKE = """#!/usr/bin/env bash
[ "$1" = setup ] || until grep -q slow calls 2>/dev/null; do sleep 0.02; done
exit "$(cat "codes/make $1")"
"""
"""Tests end when those beside them have begun."""

SUITE = "slow"

Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function from exit codes, of pytest's tries and of make's, to .ci/run's.

    It returns the code, the calls of pytest and what was printed.
    """
    for name, text in ((".venv/bin/pytest", PYTEST), ("bin/make", MAKE), ("bin/chromium", "")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    script = tmp_path / ".ci" / "run"
    script.parent.mkdir()
    script.write_bytes((PROJECT / ".ci" / "run").read_bytes())

    def start(tries: Sequence[int] = (), make: int = 0) -> tuple[int, list[str], str]:
        codes = tmp_path / "codes"
        codes.mkdir()
        (codes / "make setup").write_text("0")
        (codes / "make test").write_text(str(make))
        (codes / SUITE).write_text("".join(f"{code}\n" for code in tries))
        done = subprocess.run(
            ["bash", str(script)],
            env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        calls = (tmp_path / "calls").read_text().splitlines()
        return done.returncode, calls, done.stdout

    return start


def of(suite: str, calls: Sequence[str]) -> list[str]:
    return [call for call in calls if call.split()[0] == suite]


def test_every_suite_runs_once_when_nothing_fails(run: Run) -> None:
    code, calls, said = run()
    assert code == 0
    assert sorted(call.split()[0] for call in calls) == ["later", SUITE]
    assert sorted(said.splitlines()) == ["later speaks", f"{SUITE} speaks"]
    (slow,), (later,) = of(SUITE, calls), of("later", calls)
    left_out = re.findall(r"--ignore=(\S+)", slow)
    assert left_out
    assert later.split()[-len(left_out) :] == left_out  # all, and each once


@pytest.mark.parametrize("second", [0, 1, 2])
def test_what_failed_is_tried_once_more_by_itself(run: Run, second: int) -> None:
    code, calls, _ = run([1, second])
    assert [("--last-failed" in call) for call in of(SUITE, calls)] == [False, True]
    assert (code == 0) == (second == 0)


@pytest.mark.parametrize("first", [2, 3, 4, 5, 137])
def test_what_did_not_run_to_its_end_is_not_tried_again(run: Run, first: int) -> None:
    code, calls, _ = run([first, 0])
    assert code != 0
    assert len(of(SUITE, calls)) == 1


def test_what_ran_beside_is_shown_though_the_others_failed(run: Run) -> None:
    code, calls, said = run(make=2)
    assert code == 2
    assert f"{SUITE} speaks" in said
    assert not of("later", calls)
