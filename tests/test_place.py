import os
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from fdbpl.cache.place import Place
from fdbpl.system.errors import UserError


@pytest.fixture(params=["local", "file", "memory", "s3"])
def place(request, tmp_path: Path) -> Place:
    if request.param == "s3":
        return Place(f"{request.getfixturevalue('s3').url}/cache")
    urls = {
        "local": str(tmp_path / "cache"),
        "file": f"file://{tmp_path}/cache",
        "memory": f"memory://{tmp_path}/cache",
    }
    return Place(urls[request.param])


def test_what_is_written_is_read(place: Place) -> None:
    assert place.names() == []
    assert not place.exists("a/b")
    place.write("a/b", b"one")
    place.write("a/b", b"two")
    place.write("c", b"")
    assert place.exists("a/b")
    assert place.read("a/b") == b"two"
    for whole in (True, False):
        with place.open("a/b", whole=whole) as file:
            file.seek(1)
            assert file.read() == b"wo"
    assert place.names("a") == ["b"]
    assert place.names() == ["c"]
    place.remove("a/b")
    place.remove("a/b")
    assert place.names("a") == []
    assert place.url("c").endswith("cache/c")


def test_folders_that_hold_a_file_are_found_anywhere_below(place: Place) -> None:
    assert place.holders("here") == []
    for name in ("here", "a/b/here", "a/here", "a/not-here", "c/here/other"):
        place.write(name, b"x")
    assert place.holders("here") == [place.url(), place.url("a"), place.url("a/b")]


def test_links_to_folders_are_followed_each_folder_once(tmp_path: Path) -> None:
    for name in ("real/one", "aside/two", "aside/deep/three"):
        Place(tmp_path / name).write("here", b"x")
    (tmp_path / "real" / "linked").symlink_to(tmp_path / "aside")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real" / "one")
    (tmp_path / "real" / "one" / "up").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "real" / "to").symlink_to("fro")
    (tmp_path / "real" / "fro").symlink_to("to")
    found = Place(tmp_path / "real").holders("here")
    assert {os.path.realpath(one) for one in found} == {
        str(tmp_path / name) for name in ("real/one", "aside/two", "aside/deep/three")
    }
    assert len(found) == 3
    assert Place(tmp_path / "real" / "linked").holders("here") == [
        str(tmp_path / "real" / "linked" / name) for name in ("deep/three", "two")
    ]


def refuse_listing(patch: pytest.MonkeyPatch, folder: str) -> None:
    scan = os.scandir

    def scan_some(path):
        if str(path).rstrip("/") == folder:
            raise PermissionError(13, "Permission denied")
        return scan(path)

    patch.setattr(os, "scandir", scan_some)


@pytest.mark.parametrize("closed", ["", "a", "a/b"])
@pytest.mark.parametrize("kind", ["local", "plain"])
def test_a_folder_that_cannot_be_listed_is_named_not_taken_for_empty(
    tmp_path: Path, monkeypatch, kind: str, closed: str
) -> None:
    place = Place(tmp_path / "cache") if kind == "local" else plain_place(tmp_path)
    place.write("a/b/here", b"x")
    with monkeypatch.context() as patch:
        refuse_listing(patch, str(tmp_path / "cache" / closed))
        with pytest.raises(UserError) as refused:
            place.holders("here")
    assert str(refused.value).startswith(f"{place.url(closed)}: cannot be read (")
    assert place.holders("here") == [place.url("a/b")]


def test_a_link_that_cannot_be_followed_is_not_taken_for_a_file(tmp_path, monkeypatch) -> None:
    class Closed:
        name = "linked"

        def is_dir(self) -> bool:
            raise PermissionError(13, "Permission denied", f"{tmp_path}/linked")

    monkeypatch.setattr(os, "scandir", lambda path: nullcontext([Closed()]))
    with pytest.raises(UserError, match="linked"):
        Place(tmp_path).holders("here")


def test_a_file_holds_no_folders(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"x")
    place = Place(tmp_path / "here")
    assert (place.holders("here"), place.names(), place.exists("here")) == ([], [], False)


@pytest.mark.parametrize(
    "url", ["webhdfs://namenode:50070/x", "webhdfs://user@namenode:50070/x/", "memory://x"]
)
def test_urls_are_kept_as_they_were_given(url: str) -> None:
    place = Place(url)
    assert place.url() == url.rstrip("/")
    assert place.url("a/b") == f"{url.rstrip('/')}/a/b"
    for name in ("", "a/b"):
        there = Place(place.url(name))
        assert there._path("c") == place._path(f"{name}/c".lstrip("/"))
        assert there._fs.storage_options == place._fs.storage_options


@pytest.mark.parametrize("first", ["dir::", "dir://a::", "simplecache::", "filecache::"])
def test_urls_of_chains_name_the_place_they_came_from(tmp_path: Path, first: str) -> None:
    place = Place(f"{first}memory:/{tmp_path}/cache")
    place.write("a/b/here", b"x")
    assert place.holders("here") == [place.url("a/b")]
    assert Place(place.url()).read("a/b/here") == b"x"
    assert Place(place.url("a/b")).read("here") == b"x"


def test_all_of_memory_is_a_place(tmp_path: Path) -> None:
    Place("memory://").write(f"{tmp_path.name}/a/here", b"x")
    assert f"memory://{tmp_path.name}/a" in Place("memory://").holders("here")


@pytest.mark.parametrize(
    "names", [("u/a::b/x/c", "u/a::b/x/s"), ("file:a", "a"), ("memory::a", "b")]
)
def test_local_folders_of_any_name_are_apart(tmp_path: Path, monkeypatch, names) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(names):
        Place(Path(name)).write("here", bytes([number]))
        assert Place(name).url() == str(tmp_path / name)
    for number, name in enumerate(names):
        assert (tmp_path / name / "here").read_bytes() == bytes([number])


def test_a_home_is_found_and_dots_are_left_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert Place("~/store").url() == Place("./store/").url() == str(tmp_path / "store")


def test_missing_files_are_told_as_such(place: Place) -> None:
    with pytest.raises(FileNotFoundError):
        place.read("gone")
    for whole in (True, False):
        with pytest.raises(FileNotFoundError):
            place.open("gone", whole=whole)


def test_what_was_written_a_day_ago_and_is_there_is_left(place: Place, monkeypatch) -> None:
    place.write("a", b"one")
    now = time.time()
    for seconds, left in ((-60, False), (86_000, False), (87_000, True)):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: now + seconds)
        assert place.is_left("a") == left
        assert not place.is_left("gone")


def test_what_keeps_no_times_is_never_left(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "modified", AbstractFileSystem.modified)
    place = Place(f"memory://{tmp_path}/cache")
    place.write("a", b"one")
    assert not place.is_left("a")


def test_a_hard_linked_read_only_file_is_replaced_not_changed(tmp_path: Path) -> None:
    original = tmp_path / "dvc-object"
    original.write_bytes(b"old")
    original.chmod(0o444)
    (tmp_path / "cache").mkdir()
    os.link(original, tmp_path / "cache" / "a")
    Place(tmp_path / "cache").write("a", b"new")
    assert original.read_bytes() == b"old"
    assert (tmp_path / "cache" / "a").read_bytes() == b"new"


class Plain(DirFileSystem):
    """A filesystem without atomic puts, such as SFTP: files are written in place."""

    protocol = "plain"


def plain_place(folder: Path) -> Place:
    place = Place(folder)
    place._fs = Plain(str(folder), LocalFileSystem())
    place._root, place._is_local = "cache", False
    return place


def test_filesystems_without_atomic_puts_are_written_aside(tmp_path: Path, monkeypatch) -> None:
    place = plain_place(tmp_path)
    place.write("a", b"old")

    def fail(self, path, value, **options) -> None:
        (tmp_path / path).write_bytes(value[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Plain, "pipe_file", fail)
    with pytest.raises(UserError, match=r"a: cannot be written .*No space left"):
        place.write("a", b"new")
    assert place.read("a") == b"old"
    assert place.names() == ["a"]


def test_a_write_whose_temporary_file_was_tidied_away_is_repeated(tmp_path, monkeypatch) -> None:
    replace, calls = os.replace, []

    def lose_first(source, target) -> None:
        calls.append(source)
        if len(calls) == 1:
            Path(source).unlink()
        replace(source, target)

    monkeypatch.setattr(os, "replace", lose_first)
    Place(tmp_path).write("a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense://bucket/folder",
        "hdfs3x://a",
        "reference://a",  # TypeError: an argument is missing
        "filecache://",  # ValueError
        "ftp://127.0.0.1:9/a",  # nobody listens there
    ],
)
def test_unusable_urls_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="no place to keep a cache"):
        Place(url)


def test_a_password_in_a_url_is_refused() -> None:
    with pytest.raises(UserError, match=r"sftp://me:\*\*\*@host/x: .* FSSPEC_SFTP_PASSWORD"):
        Place("sftp://me:hush@host/x")


@pytest.mark.parametrize("name", ["what?", "100%", "50%25", "a#b", "a b", "[x]*", "{ds}", "a&b=c"])
@pytest.mark.parametrize("kind", ["local", "file", "memory", "s3"])
def test_letters_that_mean_something_in_urls_stand_for_themselves(
    request, tmp_path: Path, kind: str, name: str
) -> None:
    start = f"{request.getfixturevalue('s3').url}" if kind == "s3" else str(tmp_path)
    url = f"{start if kind in ('local', 's3') else f'{kind}://{start}'}/{name}"
    Place(url).write("here", b"x")
    assert Place(url).read("here") == b"x"
    assert Place(url).names() == ["here"]
    assert Place(url).holders("here") == [Place(url).url()]
    if kind in ("local", "file"):
        assert (tmp_path / name / "here").is_file()
