"""A region store that fails: a folder behind fsspec that errs, cuts, swaps, is stale or silent."""

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec.spec import AbstractFileSystem

from fdbpl.cache import place as places

from .chance import Random

PROTOCOL = "faulty"
FAULTS = ("busy", "error", "refused", "cut", "swapped", "stale", "silent", "gone")
"""busy: an error that passes; error, refused: that stays; cut: half of what was read; swapped:
another file's bytes; stale: neither listed nor found for a while; silent: what was written is not
there; gone: what was there is not found."""


class FaultyStore(AbstractFileSystem):
    """The folder `root` as a store whose calls go wrong, each with the chance `share`."""

    protocol = PROTOCOL
    cachable = False
    root = Path()
    fault = ""
    share = 0.0
    random: Random

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(path).removeprefix(f"{PROTOCOL}://").strip("/")

    def _at(self, path: str) -> Path:
        return self.root / self._strip_protocol(path)

    def _strikes(self, *faults: str) -> bool:
        return self.fault in faults and float(self.random.random()) < self.share

    def _call(self) -> None:
        if self._strikes("busy"):
            raise OSError(errno.EBUSY, "Please reduce your request rate")
        if self._strikes("error"):
            raise OSError(errno.EIO, "internal error")
        if self._strikes("refused"):
            raise PermissionError(errno.EACCES, "Access Denied")

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        self._call()
        at = self._at(path)
        if self._strikes("gone", "stale"):
            raise FileNotFoundError(path)
        if self._strikes("swapped"):
            others = [one for one in sorted(at.parent.iterdir()) if one.is_file()]
            at = others[int(self.random.integers(len(others)))]
        data = at.read_bytes()[slice(start, end)]
        return data[: len(data) // 2] if self._strikes("cut") else data

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        self._call()
        if self._strikes("silent"):
            return
        self._at(path).parent.mkdir(parents=True, exist_ok=True)
        self._at(path).write_bytes(value)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        self._call()
        if self._strikes("stale"):
            raise FileNotFoundError(path)
        return self._info(self._at(path))

    def _info(self, at: Path) -> dict[str, Any]:
        told = at.stat()
        kind = "directory" if at.is_dir() else "file"
        return {"name": at.relative_to(self.root).as_posix(), "size": told.st_size, "type": kind}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        self._call()
        found = [self._info(one) for one in sorted(self._at(path).iterdir())]
        found = [one for one in found if not self._strikes("stale")]
        return found if detail else [one["name"] for one in found]

    def modified(self, path: str) -> datetime:
        self._call()
        return datetime.fromtimestamp(self._at(path).stat().st_mtime, UTC)

    def rm_file(self, path: str) -> None:
        self._call()
        if not self._strikes("silent"):
            self._at(path).unlink()

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        self._call()
        os.replace(self._at(path1), self._at(path2))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self._at(path).mkdir(parents=True, exist_ok=exist_ok)


def faulty(root: Path, fault: str, share: float, seed: int, objects: bool) -> Callable[[], None]:
    """Return what makes faulty://PATH the folder root/PATH, whose calls go wrong.

    fault: of FAULTS, none where it is empty; share: of the calls that go wrong; objects: whether
    it is an object store, where a file is there at once and whole.
    """

    def begin() -> None:
        about = {
            "root": root,
            "fault": fault,
            "share": share,
            "random": np.random.default_rng(seed),
        }
        for name, value in about.items():
            setattr(FaultyStore, name, value)
        fsspec.register_implementation(PROTOCOL, FaultyStore, clobber=True)
        places.BACKOFF_SECONDS = (0.0,) * len(places.BACKOFF_SECONDS)
        if objects:
            places.OBJECT_STORES = places.OBJECT_STORES | {PROTOCOL}

    return begin
