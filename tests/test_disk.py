"""What lies in a dataset's folder is found in one order, and nothing that leads out of it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data.disk import (
    IMAGE_SUFFIXES,
    Fence,
    class_folders,
    images_below,
    inside,
    labelled_images,
    numbered_lines,
    other_suffixes,
)
from fdbpl.system.errors import UserError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_images_are_told_by_suffix_and_hidden_names_left_out(tmp_path: Path) -> None:
    for path in ("b.JPG", "a b/ü.png", "a b/c/d.webp", "x.txt", "noext", "y.HEIC", "z.heic"):
        touch(tmp_path / path)
    for path in (".DS_Store", "._b.JPG", ".hidden/a.jpg"):
        touch(tmp_path / path)
    (tmp_path / "a.jpg").mkdir()
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    assert images_below(tmp_path) == ["a b/c/d.webp", "a b/ü.png", "b.JPG", "broken.png"]
    assert images_below(tmp_path, "not there") == []
    assert labelled_images(tmp_path, ["not there", "a b"]) == (
        ("a b/c/d.webp", 1),
        ("a b/ü.png", 1),
    )
    assert other_suffixes(tmp_path) == {".heic": 2, "without suffix": 1, ".txt": 1}


def test_every_suffix_counts(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        touch(tmp_path / f"a{suffix.upper()}")
    assert len(images_below(tmp_path)) == len(IMAGE_SUFFIXES)
    assert other_suffixes(tmp_path) == {}


def test_class_folders_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "data" / "b").mkdir(parents=True)
    touch(tmp_path / "disk" / "1.png")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / ".git").mkdir()
    touch(tmp_path / "data" / "file")
    assert class_folders(tmp_path / "data") == ["a", "b"]
    assert images_below(tmp_path / "data", "a") == ["a/1.png"]


def test_folders_without_classes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: No such file"):
        class_folders(tmp_path / "gone")
    with pytest.raises(UserError, match="no class folders in it"):
        class_folders(tmp_path)


def test_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH102 - bytes
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    touch(tmp_path / os.fsdecode(b"caf\xe9") / "1.png")
    for listed in (class_folders, images_below):
        with pytest.raises(UserError, match=r"the file name caf\\udce9.* is not UTF-8"):
            listed(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "a").chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        images_below(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_keep_the_numbers_that_an_editor_shows(tmp_path: Path, mark, end) -> None:
    text = end.join(["  sea\u2028side ", "", " ", "café\x0c"])
    (tmp_path / "a.txt").write_bytes(mark + text.encode())
    assert numbered_lines(tmp_path / "a.txt", "x") == [(1, "sea\u2028side"), (4, "café")]


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("a\nb\ncafé\n".encode("latin-1"))
    for name, says in (
        ("gone.txt", "gone.txt: No such file.*Wanted class names"),
        (".", "directory"),
        ("latin.txt", "latin.txt, line 3: not UTF-8"),
    ):
        with pytest.raises(UserError, match=says):
            numbered_lines(tmp_path / name, "class names")


@given(st.text("ab./\\ é", max_size=12))
def test_a_path_inside_stays_inside(path: str) -> None:
    try:
        kept = inside(path)
    except ValueError:
        return
    root = Path("/data/images")
    assert (root / kept).resolve().is_relative_to(root.resolve())
    assert inside(kept) == kept


@pytest.mark.parametrize(
    "path", ["..", "../a", "x/../../a", "x/../a", "/etc/a", "", ".", "a\0b", "a\ud800", None, 3]
)
def test_what_is_no_path_inside_is_refused(path: object) -> None:
    with pytest.raises(ValueError, match="path"):
        inside(path)


def test_links_are_followed_and_may_not_lead_out(tmp_path: Path) -> None:
    data, disk, secret = tmp_path / "data", tmp_path / "disk", tmp_path / "secret"
    touch(secret / "s.jpg")
    touch(disk / "real" / "r.jpg")
    data.symlink_to(disk)  # the folder itself may be a link
    (data / "a.jpg").symlink_to(data / "real" / "r.jpg")
    (data / "around").symlink_to(data / "real")
    (data / "out.jpg").symlink_to(secret / "s.jpg")
    (data / "out").symlink_to(secret)
    (data / "up").symlink_to("..")
    (data / "real" / "out.jpg").symlink_to("../../secret/s.jpg")
    fence = Fence(data)
    for path in ("real/r.jpg", "a.jpg", "around/r.jpg", "not/there.jpg", "real/./r.jpg"):
        assert fence(path) == path.replace("./", "")
    for path in ("out.jpg", "out/s.jpg", "up/secret/s.jpg", "real/out.jpg", "around/out.jpg"):
        for _ in range(2):  # a second time too, when folders are known
            with pytest.raises(ValueError, match="leads outside"):
                fence(path)


def test_a_ring_of_links_ends_in_an_answer(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    fence = Fence(tmp_path)
    for path in ("ring", "ring/a.jpg"):
        try:
            fence(path)  # what does not exist may pass: whoever reads it names it
        except ValueError as error:
            assert "ring of links" in str(error)  # noqa: PT017
        assert not (tmp_path / path).exists()


@pytest.mark.parametrize(
    "name", ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "#recycle", ".x"]
)
def test_what_systems_and_drives_add_is_no_class_and_no_picture(tmp_path: Path, name: str) -> None:
    for path in ("cat/1.jpg", f"cat/{name}/1.jpg", f"{name}/1.jpg", "cat/Thumbs.db"):
        touch(tmp_path / path)
    assert class_folders(tmp_path) == ["cat"]
    assert images_below(tmp_path) == ["cat/1.jpg"]
    assert other_suffixes(tmp_path) == {}
