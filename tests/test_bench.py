"""The benchmarks run and say what they promise, on tiny models; times are never judged."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import draw_folder

from bench import payloads, step, step_way, train
from bench.plain_parts import PlainInParts, bytes_per_class
from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import PlainText
from fdbpl.clip.tokens import tokenize_prompts

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
    rows = json.loads(path.read_text())
    assert [row["classes"] for row in rows] == [3, 12]
    for row in rows:
        assert row["loss_rel"] < 1e-5
        assert row["grad_rel"] < 1e-5
        assert all(row[f"{way}_ms"] > 0 for way in step.WAYS)
        assert all(row["peak_mb"][way] > 0 for way in step.WAYS)
        assert row["engine_gflop"] > 0
        assert row["parts"]["engine"] == 1
        assert (row["parts"]["online"] > 1) == (plain_mb == "0")
    assert ("did not fit" in run.output) == (plain_mb == "0")


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
    assert [row["classes"] for row in json.loads(path.read_text())] == [2]


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
    rows = json.loads(path.read_text())
    assert [(r["method"], r["seeds"]) for r in rows] == [
        ("kdpl", 1), ("kdpl", 2), ("paper", 1), ("paper", 2)
    ]  # fmt: skip
    for r in rows:
        assert r["steps"] == r["seeds"] * 2 * 2  # two epochs, four images in batches of two
        assert r["steps_per_second"] == pytest.approx(r["steps"] / r["seconds"])
        assert r["teacher"] == r["student"] == ("online" if online else "cached")


def test_every_payload_is_measured_and_the_default_loses_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_folder(tmp_path / "mine", dict.fromkeys(("ant", "bee", "cat", "dog", "elk"), (3, 2)))
    params = {
        "datasets": ["mine"],
        "development": ["mine"],
        "methods": ["kdpl"],
        "shots": 2,
        "regions": {"per_image": 2},
        "data": {"own": {"mine": {"folder": "mine"}}},
        **{
            role: {"architecture": f"fdbpl-tiny-{role}", "weights": "tiny"}
            for role in ("student", "teacher")
        },
        "train": {"epochs": 1},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))  # JSON is YAML
    run = CliRunner().invoke(payloads.main, ["--out", "page.md"])
    assert run.exit_code == 0, run.output
    lines = run.output.splitlines()[2:8]
    cells = {line.split("|")[1].strip(): line.split("|")[2:] for line in lines}
    assert list(cells) == ["float32", "float16", "int8", "logits", "top5", "top1"]
    size, largest = ({name: float(c[i]) for name, c in cells.items()} for i in (0, 1))
    assert size["float32"] > size["float16"] > size["int8"] > size["logits"]
    assert largest["float32"] == 0
    assert 0 < largest["float16"] == largest["logits"] < 0.01 < largest["top1"]
    assert "needs features" in cells["logits"][-3]
    page = (tmp_path / "page.md").read_text()
    assert all(line in page for line in lines)
    assert str(tmp_path) not in page
