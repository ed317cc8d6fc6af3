"""Writing whole or not at all, and the one spelling of JSON that digests are taken of."""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any


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


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename: a reader sees the old file or the new one.

    Works over read-only hard links too, as DVC leaves them, since it replaces the name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).chmod(0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; on success it takes the place of `path`, else it vanishes.

    Two may be filled at once: the last to be done stays. What a killed process left is removed,
    and put back if it was on its way out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), ExitStack() as held:
        with _holding(path.parent):
            _remove_left(path)
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            held.enter_context(_holding(aside))
        new, old = aside / "new", aside / "old"
        new.mkdir()
        try:
            yield new
            with _holding(path.parent):
                if path.exists():
                    os.replace(path, old)
                try:
                    os.replace(new, path)
                except BaseException:
                    if old.exists():
                        os.replace(old, path)
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _remove_left(path: Path) -> None:
    """Remove folders beside `path` that were filled for it and that no process holds any more."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(BlockingIOError, FileNotFoundError), _holding(aside, wait=False):
            if (aside / "old").exists() and not path.exists():
                os.replace(aside / "old", path)
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _holding(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder against others that do; the system frees it when the process ends.

    Raises:
        BlockingIOError: another holds it, and this does not wait.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


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
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
