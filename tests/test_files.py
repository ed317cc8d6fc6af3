import errno
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

from fdbpl.system.files import canonical_json, readable_json, whole_folder, write_whole

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
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o644


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
