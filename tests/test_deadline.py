"""Stores that give no answer are named soon, and slow ones are waited for."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fdbpl.cache.deadline import within
from fdbpl.cache.place import Place
from fdbpl.system.errors import UserError

PATIENCE = 0.3


def never() -> None:
    threading.Event().wait()


def test_a_call_gives_what_it_returns_or_raises() -> None:
    assert within(5, lambda: 7, never) == 7
    with pytest.raises(FileNotFoundError, match="gone"):
        within(5, lambda: Path("gone").read_bytes(), never)


@pytest.mark.parametrize("more", [never, lambda: 0.0, lambda: 0.1, lambda: 1 / 0])
def test_a_call_without_end_is_given_up(more: Callable[[], float]) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="within"):
        within(0.1, never, more)
    assert time.monotonic() - start < 2


def test_a_slow_call_is_waited_for_while_there_are_answers() -> None:
    def slow() -> str:
        time.sleep(0.3)
        return "done"

    assert within(0.1, slow, lambda: 10.0) == "done"
    with pytest.raises(TimeoutError, match="no answer"):
        within(0.1, slow, never)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


class Stalling(MemoryFileSystem):
    """A store in memory of which some calls take long, or for ever."""

    protocol = "stalling"
    store: dict = {}  # noqa: RUF012 - as the class above keeps it
    pseudo_dirs = [""]  # noqa: RUF012
    stalled: frozenset[str] = frozenset()
    seconds: float | None = None

    def _stall(self, call: str) -> None:
        if call in self.stalled:
            threading.Event().wait(self.seconds)

    def cat_file(self, path, start=None, end=None, **options):
        self._stall("read")
        return super().cat_file(path, start=start, end=end, **options)

    def pipe_file(self, path, value, **options):
        self._stall("write")
        super().pipe_file(path, value, **options)

    def info(self, path, **options):
        self._stall("info")
        return super().info(path, **options)

    def ls(self, path, detail=True, **options):
        self._stall("list")
        return super().ls(path, detail=detail, **options)


@pytest.fixture
def stalling(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stalling]]:
    fsspec.register_implementation("stalling", Stalling, clobber=True)
    yield Stalling
    Stalling.store.clear()
    Stalling.stalled, Stalling.seconds = frozenset(), None


CALLS: dict[str, Callable[[Place], object]] = {
    "read": lambda place: place.read("a"),
    "write": lambda place: place.write("a", b"one"),
    "list": lambda place: place.names(),
    "info": lambda place: place.exists("a"),
}


@pytest.mark.parametrize(
    ("kind", "call"), [("s3", "read"), ("http", "read"), *(("stalling", call) for call in CALLS)]
)
def test_a_store_that_never_answers_is_named_with_its_address(
    silent: str, stalling: type[Stalling], monkeypatch, kind: str, call: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{silent}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of other addresses
    stalling.stalled = frozenset(CALLS)
    url = {"http": f"http://{silent}/x", "s3": "s3://bucket/x", "stalling": "stalling://x"}[kind]
    place, start = Place(url, patience=PATIENCE), time.monotonic()
    with pytest.raises(UserError) as named:
        CALLS[call](place)
    assert time.monotonic() - start < 10
    assert str(named.value).startswith(url)
    assert "no answer within 0.6 s" in str(named.value)
    assert silent in str(named.value) or kind == "stalling"


@pytest.mark.parametrize("call", ["read", "write"])
def test_one_call_without_end_is_named_though_others_are_answered(
    stalling: type[Stalling], call: str
) -> None:
    place, start = Place("stalling://x", patience=PATIENCE), time.monotonic()
    place.write("a", b"old")
    stalling.stalled = frozenset([call])
    with pytest.raises(UserError, match=r"stalling://x/a: .*no end within 0\.3"):
        CALLS[call](place)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("call", CALLS)
def test_a_slow_store_is_waited_for(stalling: type[Stalling], monkeypatch, call: str) -> None:
    monkeypatch.setattr("fdbpl.cache.place.SLOWEST_BYTES", 1)
    place = Place("stalling://x", patience=PATIENCE)
    place.write("a", b"one")
    stalling.stalled, stalling.seconds = frozenset([call]), 1.5 * PATIENCE
    assert CALLS[call](place) in (b"one", None, ["a"], True)


def test_a_store_over_http_without_ranges_is_read(tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None: ...

    (tmp_path / "a").write_bytes(bytes(range(256)) * 1024)
    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            place = Place(f"http://127.0.0.1:{server.server_port}")
            with place.open("a", whole=False) as file:
                file.seek(70_001)
                assert file.read(3) == bytes([0x71, 0x72, 0x73])
        finally:
            server.shutdown()
