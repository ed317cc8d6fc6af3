import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.system.files import canonical_json, locked, readable_json, whole_folder, write_whole

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False).map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_both_spellings_of_json_read_back(value) -> None:
    assert json.loads(canonical_json(value)) == value
    assert json.loads(readable_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_canonical_json_is_one_known_spelling() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()


@pytest.mark.parametrize("write", [canonical_json, readable_json])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_json_are_refused(write, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write({"a": value})


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def filled(folder: Path, text: str = "old") -> Path:
    folder.mkdir(parents=True)
    (folder / "a").write_text(text)
    return folder


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[Path]:
    """out/a, a hard link as DVC's cache makes them: its other name must stay as it is."""
    cached, link = tmp_path / "cached", tmp_path / "out/a"
    cached.write_bytes(b"old")
    cached.chmod(0o444)
    link.parent.mkdir()
    os.link(cached, link)
    yield link
    assert link.read_bytes() == b"new"
    assert cached.read_bytes() == b"old"
    assert cached.stat().st_mode & 0o777 == 0o444
    assert names(tmp_path) == ["cached", "out"]
    assert names(link.parent) == ["a"]


def test_write_whole_leaves_the_other_name_of_a_read_only_hard_link_alone(linked: Path) -> None:
    write_whole(linked, b"new")


def test_whole_folder_replaces_everything_and_touches_no_hard_link(linked: Path) -> None:
    (linked.parent / "stale").write_bytes(b"x")
    with whole_folder(linked.parent) as aside:
        (aside / "a").write_bytes(b"new")
        assert linked.read_bytes() == b"old"


def test_write_whole_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b", b"x")
    assert names(tmp_path / "a") == ["b"]


@pytest.mark.parametrize(
    ("umask", "of_file", "of_folder"), [(0o077, 0o600, 0o700), (2, 0o664, 0o775)]
)
def test_modes_are_those_that_umask_asks_for(
    tmp_path: Path, umask: int, of_file: int, of_folder: int
) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "file", b"x")
        with whole_folder(tmp_path / "folder") as aside:
            write_whole(aside / "file", b"x")
    finally:
        os.umask(before)
    for place in (tmp_path / "file", tmp_path / "folder/file"):
        assert place.stat().st_mode & 0o777 == of_file
    assert (tmp_path / "folder").stat().st_mode & 0o777 == of_folder


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[int, bytes | None]:
    """What a power cut would leave: of each inode that was flushed, the content it had then."""
    found: dict[int, bytes | None] = {}
    sync = os.fsync

    def note(handle: int) -> None:
        sync(handle)
        place = Path(f"/proc/self/fd/{handle}")
        found[os.fstat(handle).st_ino] = place.read_bytes() if place.is_file() else None

    monkeypatch.setattr(os, "fsync", note)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_what_gets_its_name_is_on_the_disk_before_and_its_name_after(
    tmp_path: Path, disk: dict[int, bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, named = os.replace, []

    def seen(source: Path, target: Path) -> None:
        if target.parent != tmp_path:  # in a folder that is filled
            return replace(source, target)
        for file in [source] if source.is_file() else filter(Path.is_file, source.rglob("*")):
            assert disk[file.stat().st_ino] == file.read_bytes()
        disk.pop(tmp_path.stat().st_ino, None)
        replace(source, target)
        return named.append(target.name)

    monkeypatch.setattr(os, "replace", seen)
    write_whole(tmp_path / "file", b"content")
    assert tmp_path.stat().st_ino in disk
    with whole_folder(tmp_path / "folder") as aside:
        (aside / "below").mkdir()
        (aside / "below" / "b").write_bytes(b"more")
        (aside / "a").write_bytes(b"content")
        write_whole(aside / "c", b"content")
    assert {tmp_path.stat().st_ino, (tmp_path / "folder/below").stat().st_ino} <= set(disk)
    assert named == ["file", "folder"]


def test_a_folder_of_a_longer_name_is_no_leftover(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out.v2") as aside:
        (aside / "a").touch()
    filled(tmp_path / ".out.v2.abc/old")
    with whole_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == [".out.v2.abc", "out", "out.v2"]


@pytest.mark.parametrize("there_before", [False, True])
def test_a_folder_half_filled_vanishes(tmp_path: Path, there_before: bool) -> None:
    folder = tmp_path / "out"
    if there_before:
        filled(folder)
    with pytest.raises(KeyboardInterrupt), whole_folder(folder) as aside:
        (aside / "a").write_bytes(b"new")
        raise KeyboardInterrupt
    assert names(tmp_path) == (["out"] if there_before else [])
    assert not there_before or (folder / "a").read_bytes() == b"old"


def test_a_folder_that_cannot_take_its_place_gives_the_old_one_back(
    tmp_path: Path, monkeypatch
) -> None:
    folder = filled(tmp_path / "out")
    replace, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no more inodes")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="inodes"), whole_folder(folder) as aside:
        (aside / "a").write_bytes(b"new")
    assert names(tmp_path) == ["out"]
    assert (folder / "a").read_bytes() == b"old"


def test_folders_filled_at_once_take_their_place_one_after_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "parent" / "out"

    def fill(who: int) -> None:
        for turn in range(40):
            with whole_folder(folder) as aside:
                for name in "ab":
                    (aside / name).write_text(f"{who} {turn}")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fill, who) for who in range(4)]:
            done.result()
    assert names(folder) == ["a", "b"]
    assert (folder / "a").read_text() == (folder / "b").read_text()
    assert names(folder.parent) == ["out"]


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_process_left_is_removed_and_what_it_took_away_is_back(
    tmp_path: Path, there: bool
) -> None:
    folder = tmp_path / "out"
    filled(tmp_path / ".out.abc/old")
    if there:
        filled(folder, "newer")
    with pytest.raises(KeyboardInterrupt), whole_folder(folder):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["out"]
    assert (folder / "a").read_text() == ("newer" if there else "old")


def test_what_another_is_filling_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with whole_folder(folder) as first:
        (first / "a").write_text("first")
        with whole_folder(folder) as second:
            (second / "a").write_text("second")
        assert (folder / "a").read_text() == "second"
    assert (folder / "a").read_text() == "first"
    assert names(tmp_path) == ["out"]


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from fdbpl.system.files import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert len(names(tmp_path)) == 1  # what was being filled
    with whole_folder(tmp_path / "out") as aside:
        (aside / "a").touch()
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("said", [(errno.ENOSPC, "No space left on device"), ("3 requested",)])
def test_what_names_no_file_names_the_target(tmp_path: Path, monkeypatch, said) -> None:
    with pytest.raises(OSError, match=said[-1]) as caught, whole_folder(tmp_path / "out"):
        raise OSError(*said)
    assert caught.value.filename == str(tmp_path / "out")

    def full(*_: object) -> None:
        raise OSError(*said)

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=said[-1]) as caught:
        write_whole(tmp_path / "file", b"x")
    assert caught.value.filename == str(tmp_path / "file")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("there_is_none", [errno.ENOLCK, errno.EOPNOTSUPP, None])
def test_where_there_are_no_locks_files_are_written_and_nobodys_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_is_none: int | None
) -> None:
    def refuse(*_: object) -> None:
        assert there_is_none is not None
        raise OSError(there_is_none, "no locks")

    if there_is_none is None:
        monkeypatch.setattr("fdbpl.system.locks.fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", refuse)
    filled(tmp_path / ".out.abcd/new")  # perhaps another is filling it
    with locked(tmp_path / "lock"), whole_folder(tmp_path / "out") as aside:
        (aside / "a").touch()
    assert names(tmp_path) == [".out.abcd", "lock", "out"]


def test_only_what_is_open_for_writing_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems want it."""
    flock = fcntl.flock

    def of_a_network(handle: int, operation: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, operation)

    monkeypatch.setattr("fcntl.flock", of_a_network)
    filled(tmp_path / ".out.abcd/old")
    with locked(tmp_path / "lock"), whole_folder(tmp_path / "out") as aside:
        (aside / "a").touch()
    assert names(tmp_path) == ["lock", "out"]
