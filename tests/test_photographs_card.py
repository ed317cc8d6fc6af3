"""The card of the small models: the page's words, and every number on it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdbpl.clip import small
from studies.photographs import card
from studies.photographs.accuracies import gain
from studies.photographs.parts import DATASETS
from studies.photographs.unheard import summary, unheard


@pytest.fixture(scope="module")
def numbers() -> Mapping[str, Any]:
    """What a card is written from, made up: no two accuracies are the same."""
    values: Iterator[float] = iter(np.arange(10, 99, 0.37).tolist())

    def both() -> dict[str, float]:
        return {"student": next(values), "teacher": next(values)}

    likes = np.arange(50)
    found = np.stack([np.random.default_rng(row).permutation(386) + 1 for row in range(50)])
    said = {"own": summary(found, likes, likes), "generic": summary(found, likes, likes)}
    rows = [
        {
            **one._asdict(),
            **{role: {"rank": rank + 1, "nearest": f"n{rank}"} for role in card.ROLES},
        }
        for rank, one in enumerate(unheard())
    ]
    difference = asdict(gain(np.array([True, True, False]), np.array([False, True, True])))
    return {
        "models": {
            role: {
                "architecture": model,
                "image_tower": "tower",
                "image_size": 160,
                "image_parameters": 3_700_000,
                "text_parameters": 7_200_000,
            }
            for role, model in card.ROLES.items()
        },
        "zero_shot": {
            name: {"classes": 7, "pictures": 1234, "chance": 100 / 7, **both()} for name in DATASETS
        },
        "probe": {
            name: {"base_classes": 4, "seeds": {"1": next(values), "2": next(values)}}
            for name in DATASETS
        },
        "full_size": {
            name: {
                "classes": 10,
                "pictures": 300,
                **{
                    role: {"full_size": next(values), "small": next(values), "gain": difference}
                    for role in card.ROLES
                },
            }
            for name in ("caltech101", "dtd")
        },
        "unheard": {
            "classes": 386,
            "summaries": dict.fromkeys(card.ROLES, said),
            "names": rows,
        },
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def test_the_page_says_every_number(numbers: Mapping[str, Any]) -> None:
    text = card.page(numbers, "commit abc123, on two cores")
    for key, title in {"zero_shot": "What they recognise", "full_size": "On full-size"}.items():
        rows = [cells(line) for line in text.split(title)[1].splitlines() if line.startswith("|")]
        shown = {cell for row in rows for cell in row}
        for one in numbers[key].values():
            for role in card.ROLES:
                of = one[role] if isinstance(one[role], Mapping) else {"": one[role]}
                wanted = {f"{value:.2f}" for value in of.values() if isinstance(value, float)}
                assert wanted <= shown
    for role in card.ROLES:
        average = np.mean([one[role] for one in numbers["zero_shot"].values()])
        assert f"{average:.2f}" in section(text, "What they recognise")
    average = np.mean([np.mean([*one["seeds"].values()]) for one in numbers["probe"].values()])
    assert f"{average:.2f}" in section(text, "With 16 pictures of each class")
    told = section(text, "Names that no caption held")
    for one in numbers["unheard"]["names"]:
        assert any(one["name"] in cells(line) for line in told.splitlines())
    chance = next(cells(line) for line in told.splitlines() if line.startswith("| chance"))
    assert chance[1:5] == ["193.5", "0.3 %", "1.3 %", "5.2 %"]


def test_without_full_size_photographs_the_page_says_so(
    numbers: Mapping[str, Any],
) -> None:
    text = card.page({**numbers, "full_size": None}, "commit abc123")
    assert "This was not measured" in section(text, "On full-size photographs")


def test_the_page_says_what_the_models_do_not_know(numbers: Mapping[str, Any]) -> None:
    text = " ".join(card.page(numbers, "commit abc123").split())
    for told in (
        "student: {architecture: fdbpl-small-student, weights: small}",
        "who people are",
        "how many there are of a thing",
        "64 pixels on the short side",
        "training part of ImageNet",
        "guesses by word vectors",
        "(#names-that-no-caption-held)",
        "Apache-2.0",
        "PDDL",
        "only the two are to be compared",
    ):
        assert told.lower() in text.lower()
    assert all(model in text for model in small.PAIR)


def test_the_card_is_written_with_its_data_and_a_small_picture(
    numbers: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "measured", lambda *given: numbers)
    paths = card.write_card(tmp_path, None, tmp_path, tmp_path / "docs", print)
    assert [path.name for path in paths] == ["small.md", "small.json", "accuracy.png"]
    assert json.loads(paths[1].read_text()) == numbers
    text = paths[0].read_text()
    assert "(small/accuracy.png)" in text
    assert str(tmp_path) not in text
    picture = paths[2].read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000
