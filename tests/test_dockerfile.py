"""The container's steps, run in a fresh environment where there is no Docker."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from models import COLOURS, write_colours
from served import png

PROJECT = Path(__file__).resolve().parents[1]
SECONDS = 60


def steps() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile and what follows each, long lines joined."""
    text = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]  # type: ignore[misc]


def test_it_runs_without_rights_and_says_whether_it_lives() -> None:
    told = dict(steps())
    assert told["USER"] != "root"
    assert "/healthz" in told["HEALTHCHECK"]
    assert json.loads(told["ENTRYPOINT"])[:3] == ["fdbpl", "serve", "/model"]


@pytest.mark.slow
@pytest.mark.release
def test_its_steps_serve_a_model_with_nothing_else_installed(tmp_path: Path) -> None:
    source, environment = tmp_path / "src", tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    for what, words in steps():
        if what == "COPY" and words == ". .":
            copy_project(source)
        elif what == "COPY":
            source.mkdir(exist_ok=True)
            for name in words.split()[:-1]:
                shutil.copy(PROJECT / name, source)
        elif what == "RUN" and words.startswith("pip"):
            command = [str(python), "-m", *shlex.split(words)]
            subprocess.run(command, cwd=source, check=True, timeout=280)
    write_colours(tmp_path / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = dict(steps())
    program, *words = json.loads(told["ENTRYPOINT"])
    words[1] = str(tmp_path / "model")
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    serving = subprocess.Popen(
        [str(environment / "bin" / program), *words, "--port", str(port)], env=clean, cwd=tmp_path
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/healthz", serving)
        health = json.loads(told["HEALTHCHECK"].partition("CMD ")[2])
        script = re.sub(":8000", f":{port}", health[-1])
        subprocess.run([str(python), "-c", script], check=True, env=clean)
        asking = urllib.request.Request(
            f"{url}/predict", png("lime"), {"Content-Type": "image/png"}, method="POST"
        )
        with urllib.request.urlopen(asking) as answer:
            assert json.load(answer)["top"][0][0] == COLOURS[1]
        for lacking in ("torch", "mlflow", "dvc", "prefect", "open_clip"):
            found = subprocess.run(
                [str(python), "-c", f"import {lacking}"],
                check=False,
                capture_output=True,
                env=clean,
            )
            assert b"ModuleNotFoundError" in found.stderr
    finally:
        serving.terminate()
        serving.wait()


def copy_project(place: Path) -> None:
    """Copy what .dockerignore leaves that the package is built from."""
    for one in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / one, place)
    for package in ("fdbpl", "flows"):
        shutil.copytree(PROJECT / package, place / package)


def wait_for(url: str, serving: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            urllib.request.urlopen(url).close()
        except OSError:
            if serving.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
