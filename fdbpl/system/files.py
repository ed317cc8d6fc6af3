"""Writing whole or not at all, and the one spelling of JSON that digests are taken of.

What is written is on the disk before it gets its name: after a power cut it is whole or not there.
"""

import glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from fdbpl.system.locks import is_named, lock

DAMAGED = Path(".fdbpl/damaged")
FLUSHES_AT_ONCE = 16

_filling: set[Path] = set()
"""Folders of `whole_folder`: what is written in them is brought to the disk at once in the end."""


def canonical_json(value: Any) -> bytes:
    """Return the one spelling of `value`: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def readable_json(value: Any) -> bytes:
    """Return `value` as indented JSON in its own key order, for files that people read."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256(data: bytes | memoryview) -> str:
    """Return the hexadecimal SHA-256 digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write `data` beside `path`, then rename: a reader sees the old file or the new one.

    Works over read-only hard links too, as DVC leaves them, since it replaces the name. The file
    gets `mode`, less what the process's umask takes away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_flushed_now = _filling.isdisjoint(path.parents)
    with _naming(path):
        aside = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                if is_flushed_now:
                    os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        if is_flushed_now:
            flush_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; on success it takes the place of `path`, else it vanishes.

    Two may be filled at once: the last to be done stays. What a killed process left is removed,
    and put back if it was on its way out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = path.parent / f".{path.name}.lock"
    with _naming(path), ExitStack() as held:
        with _holding(turn):
            _remove_left(path)
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            held.enter_context(_holding(aside / "lock"))
        new, old = aside / "new", aside / "old"
        new.mkdir()
        _filling.add(new)
        try:
            yield new
            _flush_all(new)
            with _holding(turn):
                if path.exists():
                    os.replace(path, old)
                try:
                    os.replace(new, path)
                except BaseException:
                    if old.exists():
                        os.replace(old, path)
                    raise
                flush_folder(path.parent)
        finally:
            _filling.discard(new)
            held.close()  # a network file system removes no folder with an open file in it
            shutil.rmtree(aside, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Move what is damaged to `.fdbpl/damaged`, whence nobody removes it; return where it is."""
    DAMAGED.mkdir(parents=True, exist_ok=True)
    free = (DAMAGED / f"{path.name}-{number}" for number in count(1))
    place = next(one for one in free if not os.path.lexists(one))
    shutil.move(path, place)
    return place


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_left(path: Path) -> None:
    """Remove folders beside `path` that were filled for it and that no process holds any more."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if "." in aside.name.removeprefix(f".{path.name}.") or not aside.is_dir():
            continue  # of another name, or the lock
        with suppress(BlockingIOError, FileNotFoundError):
            with _holding(aside / "lock", wait=False) as held:
                if held and (aside / "old").exists() and not path.exists():
                    os.replace(aside / "old", path)
            if held:
                shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _holding(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, which is gone afterwards; tell whether there are locks at all.

    Raises:
        BlockingIOError: another holds it, and this does not wait.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = lock(handle, wait=wait)
        except BaseException:
            os.close(handle)
            raise
        if not held or is_named(handle, path):
            break
        os.close(handle)  # who held it has removed it meanwhile
    try:
        yield held
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _flush_all(folder: Path) -> None:
    """Bring a folder and all below it to the disk, its files side by side: far sooner."""
    with ThreadPoolExecutor(FLUSHES_AT_ONCE) as pool:
        list(pool.map(_flush_file, filter(Path.is_file, folder.rglob("*"))))
    for below in filter(Path.is_dir, folder.rglob("*")):
        flush_folder(below)
    flush_folder(folder)


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name `path` in errors of the system that name no file, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for it; the system frees it when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        lock(file.fileno())
        yield
