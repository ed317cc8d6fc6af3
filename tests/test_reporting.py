import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kinds import KNOWN
from PIL import Image

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.record import Cell, Run
from fdbpl.methods.registry import title_of
from fdbpl.reporting import few_shot
from fdbpl.reporting import section as sections
from fdbpl.reporting.section import Section
from fdbpl.reporting.tables import (
    averages_table,
    compare,
    datasets_table,
    joint_table,
    markdown,
    plot,
    telling,
)
from fdbpl.system.files import readable_json

PROJECT = Path(__file__).resolve().parents[1]
SEEDS = [1, 2]


def run(base: float, new: float, step: float, images: tuple[int, int] = (9, 9)) -> Run:
    """What base-to-new measured of a dataset; each method is `step` better."""
    methods: dict[str, dict[str, Cell]] = {}
    for index, method in enumerate(KNOWN):
        methods[method] = {}
        for seed in SEEDS:
            b, n = base + step * index + seed, new + step * index - seed
            joint = {"base": b / 2, "new": n / 2, "h": harmonic_mean(b, n) / 2}
            halves = {"base": b, "new": n, "h": harmonic_mean(b, n), "joint": joint}
            methods[method][str(seed)] = Cell(measures=halves, prompts="ab12")
    return run_of(methods, dict(zip(("base", "new"), images, strict=True)))


def run_of(methods: dict[str, dict[str, Cell]], images: dict[str, int], **more: Any) -> Run:
    usual: dict[str, Any] = {"learned_on": "x", "kind": "own", "classes": {}, "left_out": []}
    return Run(**{**usual, **more}, test_images=images, methods=methods)


RECORDS = {"textures": run(60, 50, 1), "flowers": run(70, 40, 2)}


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


def test_a_dataset_with_a_single_class_in_a_half_has_no_part_in_averages(comparison) -> None:
    lone = RECORDS["textures"].model_copy(update={"classes": {"base": 2, "new": 1}})
    found = compare({**RECORDS, "lone": lone}, KNOWN, SEEDS)["methods"]
    assert telling({**RECORDS, "lone": lone}) == ["textures", "flowers"]
    for method, result in comparison["methods"].items():
        assert found[method]["avg"] == result["avg"]
        assert list(found[method]["datasets"]) == ["textures", "flowers", "lone"]
    assert compare({"lone": lone}, KNOWN, SEEDS)["methods"]["zero_shot"]["avg"]["new"] == 48.5


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
    lines = datasets_table(few, ["textures", "flowers"]).splitlines()
    assert lines[0].split() == ["|", "H", "|", "textures", "|", "flowers", "|"]
    assert lines[2] == "| zero-shot | 54.23 ± 0.17 | 50.05 ± 0.42 |"
    only = datasets_table(few, ["flowers"]).splitlines()
    assert only[2] == "| zero-shot |        - | 50.05 ± 0.42 |"
    assert len({len(line) for line in datasets_table(comparison, []).splitlines()}) == 1
    assert joint_table(few).splitlines()[2] == "| zero-shot |    27.12 |   25.02 |"


def test_every_column_has_a_rule_that_markdown_knows() -> None:
    assert markdown([("", "H"), ("a", "-")]).splitlines()[1] == "| -- | -: |"


def test_equal_seeds_show_no_deviation() -> None:
    halves = {"base": 61.7, "new": 50.3, "h": harmonic_mean(61.7, 50.3)}
    same = {**halves, "joint": halves}
    cells = {str(seed): Cell(measures=same) for seed in (1, 2, 3)}
    records = {"a": run_of({"zero_shot": cells}, {})}
    assert "±" not in datasets_table(compare(records, ["zero_shot"], [1, 2, 3]), ["a"])


def test_the_plot_is_the_same_picture_every_time(comparison) -> None:
    pictures = []
    for _ in range(2):
        file = io.BytesIO()
        draw = partial(plot, comparison, ["textures", "flowers"])
        sections.plot([Section("methods", {}, [], 8.0, draw)], file)
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]
    image = Image.open(io.BytesIO(pictures[0]))
    assert image.format == "PNG"
    assert not {"Software", "Creation Time"} & set(image.info)
    assert len(image.convert("RGB").getcolors(1 << 20)) > 3


def few(kind: str, *values: float) -> Run:
    cells = {str(seed): Cell(measures={kind: value}) for seed, value in enumerate(values, start=1)}
    return run_of({"coop": cells, "zero_shot": cells}, {"all": 7})


def test_a_curve_has_a_table_of_averages_and_one_of_every_dataset() -> None:
    runs = {
        "a": {"1": few("accuracy", 10, 20), "all": few("accuracy", 30, 40)},
        "b": {"1": few("accuracy", 50, 50), "all": few("accuracy", 70, 70)},
        "c": {"1": few("agreement", 1, 1), "all": few("agreement", 2, 2)},
    }
    summary = few_shot.summarise(runs, ["zero_shot", "coop"], SEEDS)
    assert summary["methods"]["coop"]["avg"] == {"1": 32.5, "all": 52.5}  # of accuracies alone
    assert summary["methods"]["coop"]["datasets"]["a"]["1"]["std"] == pytest.approx(50**0.5)
    known, average, first, _, told, unknown = few_shot.tables(summary)
    assert (
        known == "All classes learned, all competing; accuracy in per cent, by shots of each class:"
    )
    assert average.splitlines()[3] == "| CoOp         | 32.50 | 52.50 |"
    assert first.splitlines()[3].split("|")[2].strip() == "15.00 ± 7.07"
    assert "Agreement with the teacher" in told
    assert "| c, 7 " in unknown
    for shown in (summary, few_shot.summarise({"a": {"2": runs["a"]["1"]}}, ["coop"], SEEDS)):
        file = io.BytesIO()
        draw = partial(few_shot.plot, shown)
        sections.plot([Section("x", {}, [], few_shot.height(shown), draw)], file)
        assert Image.open(io.BytesIO(file.getvalue())).format == "PNG"


def test_a_method_without_a_dataset_has_no_average() -> None:
    lacking = run_of({"zero_shot": few("accuracy", 1, 2).methods["coop"]}, {"all": 7})
    runs = {"a": {"4": few("accuracy", 10, 20)}, "b": {"4": lacking}}
    summary = few_shot.summarise(runs, ["zero_shot", "coop"], SEEDS)
    assert summary["methods"]["coop"]["avg"] == {"4": None}
    assert few_shot.tables(summary)[1].splitlines()[3].split("|")[2:5] == [
        " 15.00 ± 7.07 ", "           - ", "       - "
    ]  # fmt: skip
