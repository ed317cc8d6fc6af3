"""A folder on any fsspec filesystem, in which files appear whole or not at all."""

import errno
import io
import os
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.implementations.memory import MemoryFileSystem

from fdbpl.cache.deadline import within
from fdbpl.system.address import require_no_password
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole

# Filesystems on which one put makes an object visible at once and whole.
OBJECT_STORES = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss"})

# What a remote file fetches at a time: the head and the keys of a segment in one request.
PART_BYTES = 1 << 16

# Another builder of the same cache may tidy away a file that is still being written.
WRITE_TRIES = 3

# A file that was left half-written for so long is waste: no single one takes so long to write.
LEFT_SECONDS = 24 * 60 * 60.0

# Waits before a transient failure is tried again, each a random share shorter, so that workers
# that failed together do not come back together: 15 s in all.
BACKOFF_SECONDS = (0.2, 0.8, 2.0, 4.0, 8.0)

# A remote store is looked after when a call takes longer: it is asked for something small, and
# given up when it does not answer that for as long. Twice this is how long a call may fail.
PATIENCE_SECONDS = 30.0

# While a store answers, a call may take as long as its bytes do over a slow line (1 Mbit/s).
SLOWEST_BYTES = 1 << 17
LONGEST_BYTES = 64 << 20  # for calls of an unknown size, as the listing of a large folder

# What marks a failure as transient: its number, its HTTP status, or the name of its class, which is
# all that the clients' errors of connections have in common.
ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,  # s3fs: 503, SlowDown
        getattr(errno, "EREMOTEIO", errno.EIO),  # s3fs: 500, InternalError
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ESTALE,  # NFS, after its server came back
    }
)
STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
NAMES = ("Timeout", "ConnectionError", "ConnectionClosed", "Disconnected", "PayloadError")

READING = "read ({}); check the rights, the credentials and the connection to it"
WRITING = "written ({}); free space, or mend the rights there or the connection to it"

Result = TypeVar("Result")


class Place:
    """The folder at `url`; `name` below may hold slashes and is relative to it.

    What fails for a moment (a timeout, a lost connection, a busy server) is tried again, six times
    in all; what fails for good, or for a minute, is a UserError that names the file.
    """

    def __init__(self, url: str | Path, *, patience: float = PATIENCE_SECONDS) -> None:
        """Open the folder, which need not exist. Raises UserError for an unusable URL.

        patience: seconds after which a remote store that does not answer is looked after; after
        twice as many it is given up.
        """
        self._fs, self._root = _opened(str(url))
        self._patience = patience
        self._is_local = isinstance(self._fs, LocalFileSystem)
        self._may_hang = not self._is_local and type(self._fs) is not MemoryFileSystem
        whole = (self._root, "") if self._is_local else _around_names(str(url), self._root)
        self._before, self._after = whole

    def url(self, name: str = "") -> str:
        """Return the full name of a file or folder: for messages, and to open it elsewhere."""
        slash = "/" if name and not self._before.endswith("/") else ""
        return f"{self._before}{slash}{name}{self._after}"

    def exists(self, name: str) -> bool:
        """Tell whether the file is there. Raises UserError when that cannot be told."""
        try:  # fs.exists would call a file missing when the store does not answer
            self._tried(name, lambda: self._fs.info(self._path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def read(self, name: str) -> bytes:
        """Return the file's bytes.

        Raises FileNotFoundError, and UserError when the filesystem does not give them.
        """
        data: bytes = self._tried(name, lambda: self._fs.cat_file(self._path(name)))
        return data

    def is_left(self, name: str) -> bool:
        """Tell whether nobody can still be writing a file: its last writing was a day ago.

        Never so of a file that is gone. Raises UserError as `read`.
        """

        def written() -> float:
            with suppress(NotImplementedError):  # the filesystem keeps no times
                return float(self._fs.modified(self._path(name)).timestamp())
            return time.time()

        with suppress(FileNotFoundError):
            return time.time() - self._tried(name, written) > LEFT_SECONDS
        return False

    def open(self, name: str, *, whole: bool) -> BinaryIO:
        """Return the file open for reading. Raises FileNotFoundError, and UserError as `read`.

        whole: all of it will be read, so that a remote file is fetched by one request.
        """
        path = self._path(name)
        if self._is_local:
            return self._tried(name, lambda: Path(path).open("rb"))
        if whole:
            return io.BytesIO(self.read(name))
        size = int(self._tried(name, lambda: self._fs.info(path))["size"])

        def fetch(start: int, stop: int) -> bytes:
            read = partial(self._fs.cat_file, path, start=start, end=stop)
            data: bytes = self._tried(name, read)
            first = start if len(data) == size else 0  # some servers of HTTP know no ranges
            return data[first : first + stop - start]

        return io.BufferedReader(_Ranges(fetch, size), PART_BYTES)

    def write(self, name: str, data: bytes) -> None:
        """Write the file whole or not at all, replacing one of this name.

        Raises UserError when the filesystem refuses it: full, read-only or out of reach.
        """
        for _ in range(WRITE_TRIES):
            try:
                write = partial(self._write, self._path(name), data)
                return self._tried(name, write, WRITING, size=len(data))
            except (FileNotFoundError, NotADirectoryError) as error:
                lost = error
        raise self._refused(name, WRITING, lost) from lost

    def remove(self, name: str) -> None:
        """Remove the file if it is there. Raises UserError when it stays."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._tried(name, lambda: self._fs.rm_file(self._path(name)), WRITING)

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names of the files directly in `folder`; none when it is missing.

        Raises UserError when they cannot be listed.
        """
        return sorted(name for name, is_folder in self._listed(folder) if not is_folder)

    def holders(self, name: str) -> list[str]:
        """Return the URLs of all folders here and below that hold a file of this name, sorted.

        On this machine links to folders are followed, and each folder is looked into once.
        Raises UserError naming the folder that cannot be listed: what it holds would be missed.
        """
        found, waiting, seen = [], [""], set()
        for folder in waiting:
            path = self._path(folder)
            real = os.path.realpath(path) if self._is_local else path
            if real in seen:  # links may lead back
                continue
            seen.add(real)
            listed = sorted(self._listed(folder))
            found += [self.url(folder)] if (name, False) in listed else []
            waiting += [f"{folder}/{one}".lstrip("/") for one, is_folder in listed if is_folder]
        return sorted(found)

    def _listed(self, folder: str) -> list[tuple[str, bool]]:
        """Return (name, whether it is a folder) of what is directly in a folder, none if missing.

        fsspec's own walk takes a folder that it cannot list for an empty one. Raises UserError.
        """
        listing = _local_listing if self._is_local else partial(_remote_listing, self._fs)
        try:
            list_it = partial(listing, self._path(folder))
            return self._tried(folder, list_it, size=LONGEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root

    def _tried(
        self,
        name: str,
        action: Callable[[], Result],
        doing: str = READING,
        *,
        size: int | None = None,
    ) -> Result:
        """Return action(), tried again after waiting while its failures are transient.

        size: bytes that it may move; by default as many as the file has.
        Raises UserError for a failure that lasts, but of a missing file what the system raises.
        """
        failures = OSError if self._is_local else Exception  # remote ones raise their client's own
        waits, until = iter(BACKOFF_SECONDS), time.monotonic() + 2 * self._patience
        while True:
            try:
                return self._answered(name, action, size) if self._may_hang else action()
            except (FileNotFoundError, NotADirectoryError):
                raise
            except failures as error:
                is_over = not is_transient(error) or time.monotonic() >= until
                seconds = None if is_over else next(waits, None)
                if seconds is None:
                    raise self._refused(name, doing, error) from error
            time.sleep(seconds * random.uniform(0.5, 1))

    def _answered(self, name: str, action: Callable[[], Result], size: int | None) -> Result:
        """Return action(), given up when the store gives no sign of life, or takes far too long."""

        def more() -> float:
            # over another connection, since not every client takes two calls at once
            fs, _ = fsspec.url_to_fs(self.url(), use_listings_cache=False, skip_instance_cache=True)
            found: dict[str, Any] = {}
            with suppress(FileNotFoundError, NotADirectoryError):
                found = fs.info(self._path(name))
            return (found.get("size") or 0 if size is None else size) / SLOWEST_BYTES

        try:
            return within(self._patience, action, more)
        except TimeoutError as error:
            raise TimeoutError(_words(error) + _endpoint(self._fs)) from error

    def _refused(self, name: str, doing: str, error: Exception) -> UserError:
        why = f"cannot be {doing.format(_words(error))}"
        return UserError(f"{self.url(name)}: {why}, then run again: what was finished is kept")

    def _write(self, path: str, data: bytes) -> None:
        if self._is_local:
            return write_whole(Path(path), data)
        protocol = self._fs.protocol
        if OBJECT_STORES.intersection([protocol] if isinstance(protocol, str) else protocol):
            self._fs.pipe_file(path, data)
            return None
        folder, _, name = path.rpartition("/")
        self._fs.makedirs(folder, exist_ok=True)
        aside = f"{folder}/.{name}.{secrets.token_hex(8)}"
        try:
            self._fs.pipe_file(aside, data)
            self._fs.mv(aside, path)
        except BaseException:
            with suppress(Exception):  # the first error counts
                self._fs.rm_file(aside)
            raise
        return None


class _Ranges(io.RawIOBase):
    """A remote file whose bytes are fetched where they are read."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._at = fetch, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._at + len(buffer), self._size)
        data = self._fetch(self._at, stop) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def is_transient(error: BaseException | None) -> bool:
    """Tell whether the same call may succeed a moment later: errors, timeouts, busy servers.

    What an error was raised from counts too.
    """
    while error is not None and not _passes(error):
        error = error.__cause__
    return error is not None


def _passes(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError):
        return False
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in ERRNOS
    return _status(error) in STATUSES or any(name in type(error).__name__ for name in NAMES)


def _status(error: BaseException) -> object:
    """Return the HTTP status of the errors of aiohttp, gcsfs, adlfs, botocore; else None."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    found = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return next((value for value in found if isinstance(value, int)), None)


def _opened(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem of a URL, and the path there."""
    if "://" not in url:  # a folder; fsspec takes a name with "::" in it for a chain of URLs
        return LocalFileSystem(), str(Path(make_path_posix(url)))
    require_no_password(
        url,
        "Put it into fsspec's own configuration, FSSPEC_SFTP_PASSWORD for sftp:// and so on, or "
        "use a key.",
    )
    try:  # no listings cache: other builders write here too
        fs, root = fsspec.url_to_fs(url, use_listings_cache=False)
    except Exception as error:  # a filesystem may connect here, and raise errors of its client
        raise UserError(
            f"{url}: no place to keep a cache ({_words(error)}); wanted a folder or a URL such as "
            "s3://bucket/folder, with its fsspec package installed"
        ) from error
    return fs, root


def _around_names(url: str, root: str) -> tuple[str, str]:
    """Return what stands before and after the names of files in a remote folder.

    The URL is kept as it was given, since the filesystem's own spelling of a path leaves out the
    host. In a chain (filecache::s3://bucket/folder) names follow the path of its first link.
    """
    link, chain, rest = url.partition("::")
    if chain:
        link = f"{link.partition('://')[0]}://{root}"
    return link if link.endswith("://") else link.rstrip("/"), chain + rest


def _local_listing(path: str) -> list[tuple[str, bool]]:
    """Return (name, whether it is a folder) of what is in a folder, a link being what it leads to.

    Without fsspec's details, which take a kilobyte of memory a file.
    """
    with os.scandir(path) as entries:
        return [(entry.name, _is_folder(entry)) for entry in entries]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # links that lead to each other lead nowhere
            return False
        raise


def _remote_listing(fs: fsspec.AbstractFileSystem, path: str) -> list[tuple[str, bool]]:
    """Return (name, whether it is a folder) of what is in a folder, a link being a file."""
    return [
        (entry["name"].strip("/").rpartition("/")[2], entry["type"] == "directory")
        for entry in fs.ls(path, detail=True)
        if entry["name"].strip("/") != path.strip("/")  # some stores list a folder's own mark
    ]


def _endpoint(fs: Any) -> str:
    """Say which server a filesystem asks, where its client tells, as that of S3 does."""
    client = getattr(fs, "s3", None)
    address = getattr(getattr(client, "meta", None), "endpoint_url", None)
    return f" from {address}" if address else ""


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
