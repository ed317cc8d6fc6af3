"""Which code on which machine: for records and pages, never for anything that is cached."""

import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "open_clip_torch", "numpy")


def commit(*paths: str) -> str:
    """Return the commit of the current folder, 12 digits, or "" where there is none.

    It adds "with changes" when files differ from it: those below `paths`, by default any.
    """
    found = git("rev-parse", "HEAD")[:12]
    changes = found and git("status", "--porcelain", "--", *paths)
    return f"{found} with changes" if changes else found


def git(*words: str) -> str:
    """Return what git says in the current folder; nothing where it fails or is not there."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> Iterator[str]:
    """Yield processor, GPU where there is one, and versions; no name or path of the machine."""
    import torch

    yield f"{_processor()}, {os.cpu_count()} cores"
    if torch.cuda.is_available():
        yield str(torch.cuda.get_device_name())
    yield f"Python {platform.python_version()}"
    yield from (f"{package} {version(package)}" for package in PACKAGES)


def _processor() -> str:
    """Return the processor's name as Linux knows it, elsewhere as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
