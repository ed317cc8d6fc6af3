"""A power cut: of what a command wrote and did not flush, the disk may hold nothing.

Names outlive the content then, as on ext4 and XFS after a rename: the file is there, and empty.
"""

import os
from collections.abc import Callable
from pathlib import Path

from .chance import Random
from .damage import overwrite


def watched(log: Path) -> Callable[[], None]:
    """Return what lets this process and its children write down which files they flush."""

    def begin() -> None:
        for name in ("fsync", "fdatasync"):
            setattr(os, name, _noting(getattr(os, name), log))

    log.unlink(missing_ok=True)
    return begin


def _noting(flush: Callable[[int], None], log: Path) -> Callable[[int], None]:
    def noting(file: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        flush(number)
        with log.open("a") as out:
            out.write(f"{os.fstat(number).st_ino}\n")

    return noting


def inodes(place: Path) -> dict[str, int]:
    """Return the inode of every file of a project."""
    return {
        (Path(folder) / name).relative_to(place).as_posix(): (Path(folder) / name).lstat().st_ino
        for folder, _, names in os.walk(place)
        for name in names
    }


def lose(place: Path, before: dict[str, int], log: Path, random: Random) -> list[str]:
    """Empty files that are new since `before` and were not flushed, each or not at random.

    SQLite and git flush by themselves, which nobody sees from here.
    """
    flushed = set(map(int, log.read_text().split())) if log.exists() else set()
    lost = []
    for path, inode in sorted(inodes(place).items()):
        is_own = path.startswith((".git/", ".dvc-state/")) or ".db" in path
        is_new = before.get(path) != inode
        if is_new and not is_own and inode not in flushed and random.random() < 0.5:
            overwrite(place / path, b"")
            lost.append(path)
    return lost
