import os
from pathlib import Path

import pytest

from fdbpl.data.disk import IMAGE_SUFFIXES, class_folders, images_below, other_suffixes
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
    assert images_below(tmp_path, "a b") == ["a b/c/d.webp", "a b/ü.png"]
    assert images_below(tmp_path, "not there") == []
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
    with pytest.raises(UserError, match=r"caf\\udce9 is not UTF-8"):
        class_folders(tmp_path)
    touch(tmp_path / os.fsdecode(b"caf\xe9") / "1.png")
    with pytest.raises(UserError, match="not UTF-8"):
        images_below(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "a").chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        images_below(tmp_path)
