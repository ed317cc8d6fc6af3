"""Training and deciding as they were: a step wired wrongly shows, whatever its parts' tests say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from golden import FILE, measure


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf with where it stands."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        yield path, value
    for key, one in items:
        yield from flat(one, f"{path}/{key}")


def test_every_method_learns_and_decides_as_it_did(tmp_path: Path) -> None:
    wanted = dict(flat(json.loads(FILE.read_text(encoding="utf-8"))))
    found = dict(flat(measure(tmp_path)))
    assert found.keys() == wanted.keys()
    moved = {
        path: (found[path], value)
        for path, value in wanted.items()
        if found[path] != pytest.approx(value, rel=1e-4, abs=1e-4)
    }
    assert not moved
