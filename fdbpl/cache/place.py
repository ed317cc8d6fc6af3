"""A folder on any fsspec filesystem, in which files appear whole or not at all."""

import io
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fdbpl.errors import UserError
from fdbpl.files import write_whole

# Filesystems on which one put makes an object visible at once and whole.
OBJECT_STORES = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss"})

# What a remote file fetches at a time: the head and the keys of a segment in one request.
PART_BYTES = 1 << 16

# A concurrent builder that tidies the folder may take a file that is still being written.
WRITE_TRIES = 3


class Place:
    """The folder at `url`; `name` below may hold slashes and is relative to it."""

    def __init__(self, url: str | Path) -> None:
        """Open the folder, which need not exist. Raises UserError for an unusable URL."""
        try:
            self._fs, self._root = fsspec.url_to_fs(str(url))
        except (ValueError, ImportError) as error:
            raise UserError(
                f"{url}: no place to keep a cache ({error}); wanted a folder or a URL such as "
                "s3://bucket/folder, with its fsspec package installed"
            ) from error
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def url(self, name: str = "") -> str:
        """Return the full name of a file for messages."""
        path = self._path(name) if name else self._root
        return path if self._is_local else str(self._fs.unstrip_protocol(path))

    def exists(self, name: str) -> bool:
        """Tell whether the file is there."""
        return bool(self._fs.exists(self._path(name)))

    def read(self, name: str) -> bytes:
        """Return the file's bytes. Raises FileNotFoundError."""
        data: bytes = self._fs.cat_file(self._path(name))
        return data

    def open(self, name: str, *, whole: bool) -> BinaryIO:
        """Return the file open for reading. Raises FileNotFoundError.

        whole: all of it will be read, so that a remote file is fetched by one request.
        """
        if whole and not self._is_local:
            return io.BytesIO(self.read(name))
        return cast("BinaryIO", self._fs.open(self._path(name), "rb", block_size=PART_BYTES))

    def write(self, name: str, data: bytes) -> None:
        """Write the file whole or not at all, replacing one of this name.

        Raises UserError when the filesystem refuses it: full, read-only or out of reach.
        """
        path = self._path(name)
        for last in (False,) * (WRITE_TRIES - 1) + (True,):
            try:
                return self._write(path, data)
            except FileNotFoundError as error:
                if last:
                    raise self._unwritable(name, error) from error
            except OSError as error:
                raise self._unwritable(name, error) from error
        return None

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names of the files directly in `folder`; none when it is missing."""
        path = self._path(folder) if folder else self._root
        self._fs.invalidate_cache(path)
        try:
            entries = self._fs.ls(path, detail=True)
        except FileNotFoundError:
            return []
        files = [entry["name"] for entry in entries if entry["type"] == "file"]
        return sorted(name.rsplit("/", 1)[-1] for name in files)

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def holders(self, name: str) -> list[str]:
        """Return the URLs of all folders here and below that hold a file of this name, sorted."""
        self._fs.invalidate_cache(self._root)
        found = [path for path in self._fs.find(self._root) if path.rsplit("/", 1)[-1] == name]
        folders = (path.rsplit("/", 1)[0] for path in found)
        return sorted(f if self._is_local else str(self._fs.unstrip_protocol(f)) for f in folders)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _write(self, path: str, data: bytes) -> None:
        if self._is_local:
            return write_whole(Path(path), data)
        folder, _, name = path.rpartition("/")
        if OBJECT_STORES.intersection(_protocols(self._fs.protocol)):
            self._fs.pipe_file(path, data)
            return None
        self._fs.makedirs(folder, exist_ok=True)
        aside = f"{folder}/.{name}.{secrets.token_hex(8)}"
        try:
            self._fs.pipe_file(aside, data)
            self._fs.mv(aside, path)
        except BaseException:
            with suppress(OSError):
                self._fs.rm_file(aside)
            raise
        return None

    def _unwritable(self, name: str, error: OSError) -> UserError:
        return UserError(
            f"{self.url(name)}: cannot be written ({error}); free space or mend the rights there, "
            "then run again: what was finished is kept"
        )


def _protocols(protocol: str | tuple[str, ...]) -> tuple[str, ...]:
    return (protocol,) if isinstance(protocol, str) else protocol
