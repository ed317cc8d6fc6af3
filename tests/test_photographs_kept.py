"""What a page keeps of earlier measurements: each run with where it was measured."""

import json
from pathlib import Path

import pytest

from fdbpl.system.errors import UserError
from studies.photographs.kept import keep, renewed, where


def test_what_is_new_takes_the_place_of_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    keep(path, renewed(path, {"a": {"x": 1}, "b": {"y": (1, 2)}}, "first"))
    keep(path, renewed(path, {"b": {"y": [1, 3]}, "c": {"z": 3}}, "second"))
    assert json.loads(path.read_text()) == {
        "a": {"x": 1, "measured": "first"},
        "b": {"y": [1, 3], "measured": "second"},
        "c": {"z": 3, "measured": "second"},
    }


def test_what_is_as_it_was_was_measured_then(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    keep(path, renewed(path, {"a": {"x": (1, {"y": 2})}}, "first"))
    before = path.read_bytes()
    keep(path, renewed(path, {"a": {"x": (1, {"y": 2})}}, "second"))
    assert path.read_bytes() == before


def test_the_order_is_that_of_the_records(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    keep(path, {"z": {"b": 1, "a": 2}, "a": {}})
    found = json.loads(path.read_text())
    assert list(found) == ["z", "a"]
    assert list(found["z"]) == ["b", "a"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_damaged_file_is_named_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kept.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"kept\.json: damaged \(.*\)\. Take it from git"):
        renewed(path, {"a": {}}, "now")
    assert path.read_text() == content


def test_it_is_said_once_where_all_was_measured() -> None:
    a, b, c = {"measured": "here"}, {"measured": "here"}, {"measured": "there"}
    assert where({"a": a, "b": b}) == "Measured at here."
    assert where({"a": a, "b": b, "c": c}) == "Measured:\n\n- a, b at here\n- c at there"
