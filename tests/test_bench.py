"""The benchmarks run and say what they promise, on tiny models; times are never judged."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import result_records
import torch
from click import ClickException
from click.testing import CliRunner
from conftest import VISION, draw_folder

from bench import (
    encode,
    end_to_end,
    finding,
    mutations,
    readme,
    report,
    step,
    step_vision,
    step_way,
    train,
)
from bench.plain_parts import PlainInParts, bytes_per_class
from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import PlainText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.methods.registry import METHODS, title_of
from fdbpl.settings.params import Params, check_params
from studies.measures import Measures

NAMES = ("cat", "dog", "maltese puppy", "sea side villa", "red")


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "run_way", step_way.measure)


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("plain_mb", ["100", "0"])
def test_the_three_ways_agree_and_the_table_is_whole(tmp_path: Path, plain_mb: str) -> None:
    path = tmp_path / "steps.json"
    run = CliRunner().invoke(
        step.main,
        ["--student", "fdbpl-tiny-student", "--teacher", "fdbpl-tiny-teacher", "--classes", "3,12",
         "--batch", "4", "--steps", "2", "--plain-mb", plain_mb, "--json", str(path)],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    found = json.loads(path.read_text())
    rows = found["rows"]
    assert [row["classes"] for row in rows] == [3, 12]
    assert run.output.endswith(f"{step.section(found)}\n")
    for row in rows:
        assert row["loss_rel"] < 1e-5
        assert row["grad_rel"] < 1e-5
        assert all(row[f"{way}_ms"] > 0 for way in step.WAYS)
        assert all(row["peak_mb"][way] > 0 for way in step.WAYS)
        assert row["engine_gflop"] > 0
        assert row["parts"]["engine"] == 1
        assert (row["parts"]["online"] > 1) == (plain_mb == "0")
    assert ("in parts: none" in run.output) == (plain_mb != "0")


def test_the_four_ways_of_both_towers_agree(
    tmp_path: Path, architecture: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "run_way", step_vision.measure)
    path, student = tmp_path / "steps.json", architecture(vision_cfg={**VISION, "layers": 4})
    run = CliRunner().invoke(
        step.main,
        ["--towers", "both", "--student", student, "--teacher", "fdbpl-tiny-teacher",
         "--classes", "3", "--batch", "4", "--steps", "2", "--late", "2,1", "--json", str(path)],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    found = json.loads(path.read_text())
    (row,) = found["rows"]
    assert row["loss_rel"] < 1e-5
    assert row["grad_rel"] < 1e-5
    assert all(row[f"{way}_ms"] > 0 for way in step_vision.WAYS)
    assert row["gflop"]["activations"] < row["gflop"]["engine"]
    assert list(row["late_ms"]) == ["2", "1"]
    assert row["late_ms"]["2"] == row["activations_ms"]
    assert run.output.endswith(f"{step.section(found)}\n")


def test_results_so_far_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_later(settings: step_way.Settings) -> dict:
        if settings.classes == 5:
            raise KeyboardInterrupt
        return step_way.measure(settings)

    monkeypatch.setattr(step, "run_way", fails_later)
    path = tmp_path / "steps.json"
    CliRunner().invoke(
        step.main,
        ["--student", "fdbpl-tiny-student", "--teacher", "fdbpl-tiny-teacher", "--classes", "2,5",
         "--batch", "2", "--steps", "1", "--json", str(path)],
    )  # fmt: skip
    assert [row["classes"] for row in json.loads(path.read_text())["rows"]] == [2]


@pytest.mark.parametrize(("size", "held"), [(1, 0), (2, 3), (2, 1)])
def test_the_plain_way_in_parts_is_the_plain_way(clip: ClipModel, size: int, held: int) -> None:
    tokens = tokenize_prompts(clip, "a photo of a", NAMES)
    found = []
    for way in (
        PlainText(clip.text_tower, tokens),
        PlainInParts(clip.text_tower, tokens, size, held),
    ):
        generator = torch.Generator().manual_seed(0)
        contexts = (0.3 * torch.randn(2, 4, 64, generator=generator)).requires_grad_()
        features = way(contexts)
        (gradient,) = torch.autograd.grad((features**3).sum(), contexts)
        found.append((features.detach(), gradient))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_memory_of_a_class_grows_with_layers_and_not_with_classes(clip: ClipModel) -> None:
    tokens = tokenize_prompts(clip, "a photo of a", NAMES)
    context = torch.zeros(4, 64)
    one = bytes_per_class(clip.text_tower, tokens, context)
    assert one == bytes_per_class(
        clip.text_tower, replace(tokens, suffixes=tokens.suffixes[:2]), context
    )
    assert one > 32 * 64 * 4 * 2 * 10  # tokens, width, bytes, layers, of which ten are kept


@pytest.mark.parametrize("online", [[], ["--online"]])
def test_whole_trainings_are_timed_method_by_method(tmp_path: Path, online: list[str]) -> None:
    folder = draw_folder(tmp_path / "mine", dict.fromkeys(("cat", "owl", "sea", "sky"), (2, 1)))
    params = {
        "datasets": ["mine"],
        "protocols": ["base-to-new"],
        "data": {"own": {"mine": {"folder": str(folder)}}},
        "methods": ["zero_shot", "kdpl", "paper"],
        "seeds": [1, 2],
        "shots": 2,
        "regions": {"per_image": 1},
        "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
        "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
        "train": {"batch": 2},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    path = tmp_path / "train.json"
    run = CliRunner().invoke(
        train.main,
        ["--params", str(tmp_path / "params.yaml"), "--dataset", "mine", "--epochs", "2",
         "--json", str(path), *online],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    found = json.loads(path.read_text())
    rows, titles = found["rows"], [title_of(name) for name in ("kdpl", "paper")]
    assert [(r["method"], r["seeds"]) for r in rows] == [(t, n) for t in titles for n in (1, 2)]
    assert found["towers"] == ("online" if online else "cached")
    for r in rows:
        assert r["steps"] == r["seeds"] * 2 * 2  # two epochs, four images in batches of two
        assert r["steps_per_second"] == pytest.approx(r["steps"] / r["seconds"])
        assert r["learned"] == 4 * 64 * (2 if r["method"] == title_of("paper") else 1)


def test_every_section_of_the_page_has_its_place() -> None:
    page = finding.PAGE.read_text(encoding="utf-8")
    for name in report.SECTIONS:
        assert page.count(f"<!-- {name}:begin -->\n") == 1, name
        assert page.count(f"<!-- {name}:end -->") == 1, name


def test_what_stands_around_a_section_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- a:begin -->\nold\n<!-- a:end -->\nbelow\n")
    for text in ("new\n", "newer\n"):
        finding.put("a", text, page)
    wanted = "above\n<!-- a:begin -->\nnewer\n<!-- a:end -->\nbelow\n"
    assert page.read_text() == wanted
    with pytest.raises(ValueError, match="unpack"):
        finding.put("b", "text", page)
    assert page.read_text() == wanted


@pytest.mark.parametrize(("value", "says"), [
    (None, "-"), (1234, "1,234"), ("x", "x"), (0.0, "0"), (1e-5, "1.0e-05"), (0.12345, "0.123"),
    (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234"),
])  # fmt: skip
def test_numbers_keep_the_digits_that_count(value: object, says: str) -> None:
    assert finding.number(value) == says


def test_encoding_is_measured_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "encode.json"
    run = CliRunner().invoke(
        encode.main,
        ["--models", "fdbpl-tiny-student", "--precisions", "fp32", "--crops", "1,2", "--batch", "2",
         "--seconds", "0", "--images", "4", "--threads", "1", "--json", str(path)],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    found = json.loads(path.read_text())
    assert [(row["crops"], row["regions"]) for row in found["rows"]] == [(1, 4), (2, 4)]
    assert "fdbpl-tiny-student" in encode.section(found)


def test_the_readme_shows_the_averages_of_some_methods() -> None:
    lift = {name: float(place) for place, name in enumerate(METHODS)}
    text = readme.averages(result_records.comparison(lift), list(result_records.DATASETS))
    table = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line[:1] == "|"]
    assert table[2:] == [title_of(name) for name in readme.SHOWN]
    assert "4 datasets of photographs on which no choice was made and 3 seeds" in text
    assert f"all {len(METHODS)} methods" in text


def test_the_readme_shows_curves_of_some_methods() -> None:
    of_all = {n: {name: {"a": n, "b": n + 1} for name in readme.BY_SHOTS} for n in (16, 2)}
    text = readme.by_shots(Measures(None, {f"{n} shots": of for n, of in of_all.items()}))
    table = [line for line in text.splitlines() if line[:1] == "|"]
    assert table[0] == "| method | 2 shots | 16 shots |"
    assert table[2:] == [f"| {title_of(name)} | 2.50 | 16.5 |" for name in readme.BY_SHOTS]


def test_the_readme_quotes_runs_beside_steps() -> None:
    about = {"student": "s", "teacher": "t", "batch": 32, "threads": 1}
    row = {"classes": 24, "online_ms": 60_000, "teacher_cached_ms": 9000, "engine_ms": 300,
           "online_over_engine": 200.0, "teacher_cached_over_engine": 30.0,
           "loss_rel": 1e-7, "grad_rel": 3e-6}  # fmt: skip
    unit = {"first_ratio": 5.4, "runs_ratio": 17.6, "all_ratio": 40.2}
    units = [{"classes": n, "crops": c, **unit} for n in (24, 1000) for c in (5, 10)]
    text = readme.speed({"options": about, "rows": [row]}, {"units": units})
    assert "| 24 | 60.0 | 9.00 | 0.300 | 200 | 30.0 |" in text
    assert "| 24 | 10 | 5.40 | 17.6 | 40.2 |" in text
    assert "1,000" not in text


def test_runs_of_true_size_are_units_times_counts() -> None:
    about = {"threads": 1, "student": "s", "teacher": "t", "precision": "fp32"}
    steps = {
        "options": about,
        "rows": [{"classes": 24, "online_ms": 1000.0, "engine_ms": 10.0}],
    }
    encoded = {
        "options": {"threads": 1},
        "rows": [
            {"model": name, "precision": "fp32", "crops": 10, "whole": 4.0} for name in ("s", "t")
        ],
    }
    (row,) = end_to_end.from_units(steps, encoded)
    assert row["train"] == pytest.approx(50 * 12 * 0.010)  # 384 images in batches of 32
    assert row["encode"] == pytest.approx(3840 / 2)
    assert row["first_ratio"] == pytest.approx(600 / (1920 + 6))
    assert row["runs_ratio"] == pytest.approx(2400 / (1920 + 24))
    assert row["even"] == 4
    with pytest.raises(ClickException, match="different threads"):
        list(end_to_end.from_units(steps, {**encoded, "options": {"threads": 2}}))


@pytest.fixture
def small(tmp_path: Path) -> Params:
    """Parameters of a dataset that trains in a moment."""
    folder = draw_folder(tmp_path / "mine", dict.fromkeys(("cat", "owl", "sea", "sky"), (4, 1)))
    return check_params(
        {
            "datasets": ["mine"],
            "protocols": ["base-to-new"],
            "data": {"own": {"mine": {"folder": str(folder)}}},
            "methods": ["kdpl", "fdbpl"],
            "seeds": [1, 2],
            "shots": 2,
            "regions": {"per_image": 2},
            "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
            "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
            "train": {"batch": 2, "epochs": 2},
        }
    )


def test_a_cache_is_paid_for_once(small: Params, tmp_path: Path) -> None:
    row = end_to_end.cached_row(small, "mine", "kdpl", 2, tmp_path / "cached")
    assert row["runs"] == 4
    assert row["encode"] + row["train"] < row["all"]
    online = end_to_end.online_row(small, "mine", "kdpl", tmp_path / "online")
    found = end_to_end.compared(row, online["seconds"])
    assert found["first"] == row["encode"] + row["train"]
    assert found["first_ratio"] * found["first"] == pytest.approx(online["seconds"])


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda one: one.says)
def test_every_mutation_names_one_place(mutation: mutations.Mutation) -> None:
    text = (mutations.HOME / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
