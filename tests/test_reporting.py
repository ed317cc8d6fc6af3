import io
import json
from pathlib import Path
from typing import Any

import pytest
from kinds import KNOWN
from PIL import Image

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import (
    averages_table,
    compare,
    datasets_table,
    joint_table,
    markdown,
    plot,
)
from fdbpl.system.files import readable_json

PROJECT = Path(__file__).resolve().parents[1]
SEEDS = [1, 2]


def record(base: float, new: float, step: float) -> dict[str, Any]:
    """A dataset's accuracies as the evaluation writes them; each method is `step` better."""
    methods = {}
    for index, method in enumerate(KNOWN):
        seeds = {}
        for seed in SEEDS:
            b, n = base + step * index + seed, new + step * index - seed
            joint = {"base": b / 2, "new": n / 2, "h": harmonic_mean(b, n) / 2}
            halves = {"base": b, "new": n, "h": harmonic_mean(b, n), "joint": joint}
            seeds[str(seed)] = {**halves, "prompts": "ab12"}
        methods[method] = {"seeds": seeds}
    return {"dataset": "x", "plan": "cd34", "methods": methods}


RECORDS = {"textures": record(60, 50, 1), "flowers": record(70, 40, 2)}


@pytest.fixture
def comparison() -> dict[str, Any]:
    return compare(RECORDS, KNOWN, SEEDS)


def test_the_layout_is_the_designs(comparison) -> None:
    assert list(comparison) == ["methods"]
    assert list(comparison["methods"]) == list(KNOWN)
    for method in comparison["methods"].values():
        assert set(method) == {"avg", "datasets"}
        assert set(method["avg"]) == {"base", "new", "h", "h_mean", "joint"}
        assert set(method["avg"]["joint"]) == {"base", "new", "h"}
        assert list(method["datasets"]) == ["textures", "flowers"]
        for dataset in method["datasets"].values():
            assert set(dataset) == {"base", "new", "h", "h_std", "joint", "seeds"}
            assert list(dataset["seeds"]) == ["1", "2"]
            for seed in dataset["seeds"].values():
                assert set(seed) == {"base", "new", "h", "joint"}
                assert set(seed["joint"]) == {"base", "new", "h"}
    assert json.loads(readable_json(comparison)) == comparison


def test_the_numbers_by_hand(comparison) -> None:
    teacher = comparison["methods"]["teacher"]  # the fourth: 3 steps better than the first
    textures, flowers = teacher["datasets"]["textures"], teacher["datasets"]["flowers"]
    assert (textures["base"], textures["new"]) == (64.5, 51.5)
    assert textures["h"] == pytest.approx(2 * 64.5 * 51.5 / 116)
    h = [harmonic_mean(64, 52), harmonic_mean(65, 51)]
    assert textures["h_std"] == pytest.approx(abs(h[0] - h[1]) / 2**0.5)
    joint = {"base": 32.5, "new": 25.5, "h": h[1] / 2}
    assert textures["seeds"]["2"] == {"base": 65, "new": 51, "h": h[1], "joint": joint}
    assert textures["joint"]["base"] == 64.5 / 2
    assert textures["joint"]["h"] == pytest.approx(textures["h"] / 2)
    assert (teacher["avg"]["base"], teacher["avg"]["new"]) == (71.0, 48.0)
    assert teacher["avg"]["h"] == pytest.approx(2 * 71 * 48 / 119)
    assert teacher["avg"]["joint"]["h"] == pytest.approx(71 * 48 / 119)
    assert teacher["avg"]["h_mean"] == pytest.approx((textures["h"] + flowers["h"]) / 2)


def test_only_what_was_asked_for_is_compared() -> None:
    comparison = compare(RECORDS, ["fdbpl", "coop"], [2])
    assert list(comparison["methods"]) == ["fdbpl", "coop"]
    assert list(comparison["methods"]["coop"]["datasets"]["flowers"]["seeds"]) == ["2"]
    with pytest.raises(KeyError):
        compare(RECORDS, ["fdbpl"], [3])


def test_every_method_has_its_line_in_the_docs() -> None:
    docs = (PROJECT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert [name for name in KNOWN if f"| `{name}` | {title_of(name)} |" not in docs] == []


def test_the_tables(comparison) -> None:
    few = compare(RECORDS, ["zero_shot", "teacher"], SEEDS)
    assert averages_table(few, ["textures", "flowers"]).splitlines() == [
        "| method    |  base |   new |     H | joint base | joint new | joint H |",
        "| --------- | ----: | ----: | ----: | ---------: | --------: | ------: |",
        "| zero-shot | 66.50 | 43.50 | 52.60 |      33.25 |     21.75 |   26.30 |",
        "| teacher   | 71.00 | 48.00 | 57.28 |      35.50 |     24.00 |   28.64 |",
    ]
    assert averages_table(few, ["flowers"]).splitlines()[2].split()[3:8:2] == [
        "71.50",
        "38.50",
        "50.05",
    ]
    lines = datasets_table(few).splitlines()
    assert lines[0].split() == ["|", "H", "|", "textures", "|", "flowers", "|"]
    assert lines[2] == "| zero-shot | 54.23 ± 0.17 | 50.05 ± 0.42 |"
    assert len({len(line) for line in datasets_table(comparison).splitlines()}) == 1
    assert joint_table(few).splitlines()[2] == "| zero-shot |    27.12 |   25.02 |"


def test_every_column_has_a_rule_that_markdown_knows() -> None:
    assert markdown([("", "H"), ("a", "-")]).splitlines()[1] == "| -- | -: |"


def test_equal_seeds_show_no_deviation() -> None:
    halves = {"base": 61.7, "new": 50.3, "h": harmonic_mean(61.7, 50.3)}
    same = {**halves, "joint": halves}
    records = {"a": {"methods": {"zero_shot": {"seeds": {str(s): same for s in (1, 2, 3)}}}}}
    assert "±" not in datasets_table(compare(records, ["zero_shot"], [1, 2, 3]))


def test_the_plot_is_the_same_picture_every_time(comparison) -> None:
    pictures = []
    for _ in range(2):
        file = io.BytesIO()
        plot(comparison, ["textures", "flowers"], file)
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]
    image = Image.open(io.BytesIO(pictures[0]))
    assert image.format == "PNG"
    assert not {"Software", "Creation Time"} & set(image.info)
    assert len(image.convert("RGB").getcolors(1 << 20)) > 3
