from pathlib import Path

import pytest

from fdbpl.data.disk import numbered_lines
from fdbpl.system.errors import UserError


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_keep_the_numbers_that_an_editor_shows(tmp_path: Path, mark, end) -> None:
    text = end.join(["  sea\u2028side ", "", " ", "café\x0c"])
    (tmp_path / "a.txt").write_bytes(mark + text.encode())
    assert numbered_lines(tmp_path / "a.txt", "x") == [(1, "sea\u2028side"), (4, "café")]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.txt: No such file.*Wanted class names"):
        numbered_lines(tmp_path / "gone.txt", "class names")
    with pytest.raises(UserError, match="directory"):
        numbered_lines(tmp_path, "class names")
    (tmp_path / "latin.txt").write_bytes("a\nb\ncafé\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt, line 3: not UTF-8"):
        numbered_lines(tmp_path / "latin.txt", "class names")
