"""The pictures that a command line names: files, folders, lists, in order and one by one."""

import os
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data.disk import images_below
from fdbpl.serving.pictures import LIST, pictures


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def below(folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in pictures([str(folder)])]


def test_a_folder_is_walked_in_the_order_of_names_without_hidden_and_other_files(tmp_path) -> None:
    names = ["b/2.PNG", "b/10.jpeg", "a.jpg", "b.webp", "B/é.tif", "b/c/x.gif"]
    touch(tmp_path, *names, "notes.txt", ".hidden.png", ".git/x.png", "b/._2.png", "png", "b/.png")
    touch(tmp_path, "__MACOSX/b/2.png", "b/@eaDir/2.png")
    assert below(tmp_path) == ["B/é.tif", "a.jpg", "b/10.jpeg", "b/2.PNG", "b/c/x.gif", "b.webp"]
    assert sorted(below(tmp_path)) == images_below(tmp_path)  # what is learned from is predicted


def test_files_are_taken_whatever_their_names_and_as_they_were_given(tmp_path: Path) -> None:
    touch(tmp_path, "x.txt", ".hidden")
    given_paths = [f"{tmp_path}//x.txt", str(tmp_path / ".hidden"), str(tmp_path / "gone"), ""]
    assert list(pictures(given_paths)) == given_paths


def test_paths_come_in_the_order_given_and_as_often(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    found = [Path(path).name for path in pictures([b, a, b])]
    assert found == ["2.png", "1.png", "2.png"]


NAMES = st.text(st.characters(exclude_characters="\r\n"), min_size=1)


@given(names=st.lists(NAMES.filter(lambda name: not Path(name).is_dir())))  # "/" would be walked
def test_a_list_is_a_path_a_line(names: list[str]) -> None:
    wanted = [name for name in names if name != LIST]
    for end in ("\n", "\r\n"):
        assert list(pictures([LIST], [f"{name}{end}" for name in names])) == wanted
    assert list(pictures(["x", LIST, "y"], [*names, "", "\n"])) == ["x", *wanted, "y"]


def test_folders_in_a_list_are_walked(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.png")
    assert len(list(pictures([LIST], [f"{tmp_path}\n", f"{tmp_path / 'a'}\n"]))) == 4


def test_an_endless_list_is_read_line_by_line(tmp_path: Path) -> None:
    assert list(islice(pictures([LIST], repeat("x\n")), 5)) == ["x"] * 5


def test_nothing_is_listed_before_it_is_wanted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    read = pictures([str(tmp_path)])
    assert next(read).endswith("a/1.png")
    touch(tmp_path, "b/2.png")
    assert [Path(path).name for path in read] == ["1.png", "2.png"]


def test_names_of_any_bytes_and_lines_in_names(tmp_path: Path) -> None:
    for name in (b"\xff.png", b"line\nbreak.png", b'say "x", y.png'):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).touch()
    found = [os.fsencode(path).rpartition(b"/")[2] for path in pictures([str(tmp_path)])]
    assert sorted(found) == sorted([b"\xff.png", b"line\nbreak.png", b'say "x", y.png'])


def test_a_link_that_leads_back_up_is_not_followed_and_others_are(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/c/2.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "here.png").symlink_to(tmp_path / "b" / "c" / "2.png")
    (tmp_path / "d").symlink_to(tmp_path / "b")
    wanted = ["a/1.png", "a/here.png", "b/c/2.png", "d/c/2.png"]
    assert below(tmp_path) == wanted
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "gone.png").symlink_to("nowhere")
    assert below(tmp_path) == [*wanted, "gone.png"]  # whoever reads it names it


def test_a_folder_that_cannot_be_opened_is_yielded(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "c.png")
    scan = os.scandir

    def closed(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert below(tmp_path) == ["a", "b/1.png", "c.png"]


@pytest.mark.parametrize("depth", [1, 60])
def test_folders_may_be_deep(tmp_path: Path, depth: int) -> None:
    touch(tmp_path, "/".join(["d"] * depth) + "/1.png")
    assert len(below(tmp_path)) == 1
