import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data.disk import Fence, inside, require_utf8
from fdbpl.system.errors import UserError


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
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "s.jpg").touch()
    data = tmp_path / "data"
    (data / "real").mkdir(parents=True)
    (data / "real" / "r.jpg").touch()
    (data / "a.jpg").symlink_to(data / "real" / "r.jpg")
    (data / "around").symlink_to(data / "real")
    (data / "out.jpg").symlink_to(secret / "s.jpg")
    (data / "out").symlink_to(secret)
    (data / "up").symlink_to("..")
    (data / "real" / "out.jpg").symlink_to("../../secret/s.jpg")
    (data / "ring").symlink_to("ring")
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


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.jpg").touch()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert Fence(tmp_path / "data")("a.jpg") == "a.jpg"


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    assert require_utf8(tmp_path, "é") == "é"
    with pytest.raises(UserError, match=r"the file name caf\\udce9 is not UTF-8"):
        require_utf8(tmp_path, os.fsdecode(b"caf\xe9"))
