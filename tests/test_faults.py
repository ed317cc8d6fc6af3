"""Damage, full disks and failing stores: found and named, survived, or tried again."""

import errno
import resource
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bench.faults import judge_cache, judge_store, make_whole
from bench.quick import QuickEncoder, quick_build, quick_plan
from fdbpl.cache import build as building
from fdbpl.cache import open_cache, place
from fdbpl.cache import store as storing
from fdbpl.cache.place import is_transient
from fdbpl.system.errors import UserError

COUNT = 1200


class HttpError(Exception):
    """As client libraries raise it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class ServerDisconnectedError(Exception):
    """As aiohttp calls it."""


class ClientError(Exception):
    """As botocore calls it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"An error occurred ({status})")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def translated(status: int) -> OSError:
    """As s3fs raises what it does not know."""
    error = OSError(errno.EIO, "unknown")
    error.__cause__ = ClientError(status)
    return error


TRANSIENT = [
    TimeoutError(),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    OSError(errno.EBUSY, "Please reduce your request rate"),
    HttpError(503),
    ClientError(500),
    translated(503),
    ServerDisconnectedError(),
]
LASTING = [
    PermissionError(errno.EACCES, "Access Denied"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EROFS, "Read-only file system"),
    HttpError(403),
    ClientError(400),
    ValueError("no such option"),
]


class Failing(MemoryFileSystem):
    """A store in memory whose calls first ask `before`, which may raise, sleep or count."""

    protocol = "failing"
    store: dict = {}  # noqa: RUF012 - as the class above keeps it
    pseudo_dirs = [""]  # noqa: RUF012
    before: Callable[[str, str], None] = staticmethod(lambda call, path: None)
    lie: Callable[["Failing", str, bytes], bytes] = staticmethod(lambda fs, path, data: data)
    half = False  # a failing write leaves half of the file

    def pipe_file(self, path, value, **options):
        try:
            type(self).before("write", path)
        except Exception:
            if self.half:
                super().pipe_file(path, value[: len(value) // 2], **options)
            raise
        super().pipe_file(path, value, **options)

    def cat_file(self, path, start=None, end=None, **options):
        type(self).before("read", path)
        data = type(self).lie(self, path, super().cat_file(path))
        return data[start:end]

    def info(self, path, **options):
        type(self).before("info", path)
        return super().info(path, **options)

    def ls(self, path, detail=True, **options):
        type(self).before("list", path)
        return super().ls(path, detail=detail, **options)

    def mv(self, path1, path2, **options):
        type(self).before("move", path1)
        super().mv(path1, path2, **options)


class Objects(Failing):
    """The same as an object store, where one put makes a file visible at once and whole."""

    protocol = "failing-objects"
    store: dict = {}  # noqa: RUF012


@pytest.fixture(params=[Failing, Objects])
def failing(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Failing]]:
    kind = request.param
    fsspec.register_implementation(kind.protocol, kind, clobber=True)
    monkeypatch.setattr(place, "OBJECT_STORES", place.OBJECT_STORES | {"failing-objects"})
    monkeypatch.setattr(place, "BACKOFF_SECONDS", (0.0,) * 5)
    monkeypatch.setattr(secrets, "randbelow", lambda below: 0)  # every build makes the same calls
    monkeypatch.setattr(building, "CHUNK_VIEWS", 8)
    monkeypatch.setattr(building, "SHARD_BYTES", 12 * 32)
    kind.half = kind is Failing
    yield kind
    kind.store.clear()
    kind.before = staticmethod(lambda call, path: None)
    kind.lie = staticmethod(lambda fs, path, data: data)


class Build:
    """One small build, again and again."""

    def __init__(self, folder: Path, root: str) -> None:
        self.folder, self.root = folder / "images", root
        self.plan = quick_plan(self.folder, images=5, crops=6)
        self.views = 4 * 6 + 1

    def __call__(self):
        where = [f"{self.root}/store", f"{self.root}/cache"]
        return quick_build(self.plan, self.folder, *where, QuickEncoder())

    def contents(self) -> dict[str, bytes]:
        fs, path = fsspec.url_to_fs(f"{self.root}/cache")
        files = {name: fs.open(name).read() for name in fs.find(path)}
        return {name.rsplit("/", 1)[-1]: data for name, data in files.items()}


def raising(kind: type[Failing], error: Exception, when: Callable[[int], bool]) -> list[str]:
    """Let calls fail of which `when(number)` is true; return the list of all calls to come."""
    calls: list[str] = []

    def before(call: str, path: str) -> None:
        calls.append(call)
        if when(len(calls) - 1):
            raise error

    kind.before = staticmethod(before)
    return calls


def test_random_faults_are_found_and_named(tmp_path, monkeypatch) -> None:
    for name in ("SHARD_BYTES", "CHUNK_VIEWS"):  # set by make_whole
        monkeypatch.setattr(building, name, getattr(building, name))
    whole = make_whole(tmp_path)
    for judge in (judge_cache, judge_store):
        counts = judge(whole, COUNT, np.random.default_rng(0))
        assert len(counts) == 6
        for kind, count in counts.items():
            assert count.put > COUNT // 8, kind
            assert (count.used, count.verified) == (count.put, count.put), kind


@pytest.mark.parametrize("error", [*TRANSIENT, *LASTING, FileNotFoundError()], ids=repr)
def test_what_passes_by_itself_is_told_from_what_stays(error) -> None:
    assert is_transient(error) == (error in TRANSIENT)


def test_a_store_that_fails_now_and_then_is_tried_again(tmp_path, failing) -> None:
    build = Build(tmp_path, f"{failing.protocol}://a")
    build()
    wanted = build.contents()
    for number, error in enumerate(TRANSIENT):
        failing.store.clear()
        # every eleventh call: a write takes several, and may not fail at each of its tries
        calls = raising(failing, error, lambda call, number=number: call % 11 == 3 + number)
        counts = build()
        failing.before = staticmethod(lambda call, path: None)
        assert len(calls) > 20
        assert (counts.encoded, counts.faults) == (build.views, ())
        assert build.contents() == wanted


def test_a_store_that_stays_away_is_named_after_six_tries(tmp_path, failing) -> None:
    build = Build(tmp_path, f"{failing.protocol}://a")
    calls = raising(failing, TimeoutError("no answer"), lambda _: True)
    with pytest.raises(UserError, match=rf"{failing.protocol}://.*a/store.*no answer.*run again"):
        build()
    assert len(calls) == 6


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_wherever_a_build_fails_nothing_half_written_is_taken_for_whole(
    tmp_path, failing, error
) -> None:
    build = Build(tmp_path, f"{failing.protocol}://a")
    calls = raising(failing, error, lambda _: False)
    build()
    total, wanted = len(calls), build.contents()
    for last in range(0, total, 1 if isinstance(error, PermissionError) else 7):
        failing.store.clear()
        raising(failing, error, lambda number, last=last: number >= last)
        with pytest.raises(UserError, match=rf"{failing.protocol}://.*cannot be (read|written)"):
            build()
        failing.before = staticmethod(lambda call, path: None)
        if fsspec.url_to_fs(build.root)[0].exists("/a/cache/manifest.json"):
            assert open_cache(f"{build.root}/cache").verify() == []
        counts = build()
        assert counts.faults == ()
        assert build.contents() == wanted


def lying(seed: int) -> Callable[[Failing, str, bytes], bytes]:
    """Give, for one read in four, another file's bytes, a part, a changed one, or an error."""
    random = np.random.default_rng(seed)

    def lie(fs: Failing, path: str, data: bytes) -> bytes:
        others = [one for one in fs.find(path.rpartition("/")[0]) if one != path]
        kind = int(random.integers(16))
        if kind == 0 and others:
            return bytes(fs.store[others[int(random.integers(len(others)))]].getbuffer())
        if kind == 1:
            return data[: int(random.integers(len(data)))]
        if kind == 2:
            place = int(random.integers(len(data)))
            return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        if kind == 3:
            raise HttpError(500)
        return data

    return lie


@pytest.mark.parametrize("spared", [0, 1 << 20])  # segments read in parts, and whole
def test_a_store_that_lies_is_found_out(tmp_path, failing, monkeypatch, spared: int) -> None:
    monkeypatch.setattr(storing, "SPARED_BYTES", spared)
    build = Build(tmp_path, f"{failing.protocol}://a")
    build()
    wanted, faults = build.contents(), 0
    for seed in range(20):
        if seed % 2:
            failing.store.clear()
        failing.lie = staticmethod(lying(seed))
        with suppress(UserError):
            faults += len(build().faults)
            assert wanted.items() <= build.contents().items()
        failing.lie = staticmethod(lambda fs, path, data: data)
        build()
        assert wanted.items() <= build.contents().items()
        assert open_cache(f"{build.root}/cache").verify() == []
    assert faults


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 900])
def test_files_that_the_system_cuts_short_are_never_there(tmp_path, size) -> None:
    build = Build(tmp_path, str(tmp_path))
    with largest_file(size), pytest.raises(UserError, match=r"cannot be written .*run again"):
        build()
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")] == []
    assert not (tmp_path / "cache" / "manifest.json").exists()
    build()
    assert open_cache(tmp_path / "cache").verify() == []


def test_a_full_disk_ends_in_one_clear_line_and_the_work_goes_on_with_room(tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("this user may mount no small disk")
    try:
        build = Build(tmp_path, str(disk))
        with pytest.raises(UserError, match=r"disk.*No space left on device.*free space"):
            build()
        assert not (disk / "cache" / "manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        counts = build()
        assert counts.faults == ()
        assert open_cache(disk / "cache").verify() == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
