"""The measurement of predictions runs, and its table says what was found; times are not judged."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from student_models import zero_shot

from bench import predict
from fdbpl.clip.model import ClipModel

FOUND = {
    "command": "python -m bench.predict --pictures 16",
    "commit": "0123456",
    "machine": ["2 cores"],
    "rows": [
        {
            "size": 64,
            "decoder": 900.0,
            "encoder": 100.0,
            "torch": 25.0,
            "whole": 81.0,
            "limit": 90.0,
        }
    ],
    "first_s": 0.456,
    "memory_mb": {"16": 210.4, "100000": 215.6},
}


def test_a_section_says_what_was_found() -> None:
    said = predict.section(FOUND)
    assert "`python -m bench.predict --pictures 16`, commit 0123456, on 2 cores." in said
    assert "First answer 0.46 s after the command" in said
    assert "210 MiB with 16 and 216 MiB with 100,000 pictures." in said
    head, _, row = (line for line in said.splitlines() if line.startswith("|"))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, row)]
    shown = dict(zip(*cells, strict=True))
    assert shown["pictures/s"] == "81.0"
    assert shown["of that limit"] == "90%"
    assert shown["of the encoder"] == "81%"
    assert shown["times torch's"] == "3.2"


def test_pictures_are_of_the_size_asked_for(tmp_path: Path) -> None:
    for path in predict.pictures(tmp_path, 3, 50):
        with Image.open(path) as image:
            assert max(image.size) == 50
            assert image.format == "JPEG"


def run(tmp_path: Path, count: int, *words: str) -> dict:
    path = tmp_path / "found.json"
    words = ("--pictures", str(count), "--json", str(path), *words)
    done = CliRunner().invoke(predict.main, list(words))
    assert done.exit_code == 0, done.output
    found = json.loads(path.read_text())
    assert done.output == f"{predict.section(found)}\n"
    return found


@pytest.mark.parametrize("count", [3, 16])
def test_it_runs_with_few_pictures(
    clip: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """By the small random student, and without the command's own processes."""
    monkeypatch.setattr(predict, "made", lambda: zero_shot(clip))
    monkeypatch.setattr(predict, "command", lambda *_: (0.5, 100.0))
    found = run(tmp_path, count, "--sizes", "20,40", "--stream", "5")
    assert [row["size"] for row in found["rows"]] == [20, 40]
    assert set(found["memory_mb"]) == {str(count), "5"}
    for row in found["rows"]:
        assert min(row.values()) > 0
        assert row["limit"] < min(row["encoder"], row["decoder"])


@pytest.mark.slow
def test_it_runs_as_it_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "REPEATS", 1)
    found = run(tmp_path, 16, "--sizes", "64", "--stream", "24")
    assert found["first_s"] > 0
    assert set(found["memory_mb"]) == {"16", "24"}
