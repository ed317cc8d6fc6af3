"""The source of the code that a process runs, whatever is saved over it meanwhile."""

from functools import cache
from pathlib import Path


@cache
def source(path: Path) -> bytes:
    """Return the bytes of a file of Python as they were when this process first asked."""
    return path.read_bytes()
