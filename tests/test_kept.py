from pathlib import Path

import pytest

from fdbpl.system.kept import PLACE, kept


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE, str(tmp_path / "kept"))
    return tmp_path / "kept"


class Maker:
    """Makes other bytes every time."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return b"content %d" % self.made


def test_a_thing_is_made_once_for_what_decides_it(place: Path) -> None:
    make = Maker()
    first = kept(["a", 1], make)
    assert kept(["a", 1], make) == first
    assert kept(["a", 2], make) != first
    assert make.made == len(list(place.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 200, None])
def test_what_is_damaged_is_made_again(place: Path, damage: bytes | None) -> None:
    make = Maker()
    kept("a", make)
    (file,) = place.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"?" if damage is None else damage)
    assert kept("a", make) == b"content 2"
    assert kept("a", make) == b"content 2"


def test_where_nothing_can_be_kept_it_is_made_every_time(place: Path) -> None:
    place.write_text("no folder")
    make = Maker()
    assert [kept("a", make), kept("a", make)] == [b"content 1", b"content 2"]


def test_it_lies_in_the_user_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLACE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept("a", Maker())
    assert len(list((tmp_path / "fdbpl").iterdir())) == 1
