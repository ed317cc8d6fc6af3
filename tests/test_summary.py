"""A record over all datasets and the files beside it are taken as they were written together."""

from pathlib import Path

import pytest
from harms import harms
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.stages.summary import Place, read_summary, write_summary
from fdbpl.system.errors import UserError

RECORD = {"methods": {"coop": {"avg": {"h": 61.25}}}, "made_with": {"seeds": [1, 2]}}


def place_in(folder: Path) -> Place:
    return lambda suffix: folder / f"compare.{suffix}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    found = place_in(tmp_path_factory.mktemp("summary"))
    write_summary(found, RECORD, "| H |\n", b"\x89PNG")
    return found


def test_it_reads_back_and_equal_ones_are_equal_bytes(place: Place, tmp_path: Path) -> None:
    assert read_summary(place, "it") == RECORD
    write_summary(place_in(tmp_path), RECORD, "| H |\n", b"\x89PNG")
    for suffix in ("json", "md", "png"):
        assert place_in(tmp_path)(suffix).read_bytes() == place(suffix).read_bytes()


@given(st.data(), st.sampled_from(["json", "md", "png"]))
@settings(max_examples=80)
def test_no_harm_goes_unnamed(place: Place, drawn: st.DataObject, suffix: str) -> None:
    path = place(suffix)
    whole = path.read_bytes()
    path.write_bytes(drawn.draw(harms(whole)))
    try:
        with pytest.raises(UserError) as error:
            read_summary(place, "fdbpl compare")
    finally:
        path.write_bytes(whole)
    assert str(error.value).startswith(f"{path}: damaged (")
    assert str(error.value).endswith("Run fdbpl compare again.")


@pytest.mark.parametrize("suffix", ["json", "md", "png"])
def test_what_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    place = place_in(tmp_path)
    write_summary(place, RECORD, "", b"")
    place(suffix).unlink()
    with pytest.raises(UserError, match=rf"compare\.{suffix}: no such file\. Run it first"):
        read_summary(place, "it")


def test_files_of_two_runs_are_refused(tmp_path: Path, place: Place) -> None:
    other = place_in(tmp_path)
    write_summary(other, {**RECORD, "seeds": 3}, "| H | of 3 |\n", b"\x89PNG")
    other("md").write_bytes(place("md").read_bytes())
    with pytest.raises(UserError, match=r"compare\.md: damaged \(of another run than"):
        read_summary(other, "it")
