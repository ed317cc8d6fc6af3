"""A whole ablation over random features: what runs, what is remembered, what the report says."""

import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import draw_folder
from fdbpl.code import CODE_OF_INPUTS, CODE_OF_TRAINING, code_digest
from PIL import Image
from test_planned import changed
from workspaces import prepare, train, workspace_params

import fdbpl
from fdbpl.ablation import report, trials
from fdbpl.ablation.ablate import ablate
from fdbpl.ablation.grid import Factor, Setting, parse_factor
from fdbpl.ablation.summary import Row, summarise
from fdbpl.ablation.trials import Trial
from fdbpl.cli import main
from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import linearised_h, t_interval
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.training import digest

DATASETS = ["birds", "cars"]
Calls = list[tuple[str, str, tuple[str, ...]]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The stages that an ablation runs, with random vectors in place of models."""
    monkeypatch.chdir(tmp_path)
    made: Calls = []

    def stage(name: str, params: Params, work: Workspace, dataset: str) -> list[str]:
        made.append((name, dataset, tuple(params.methods) if name == "train_student" else ()))
        if name == "prepare_crops":
            prepare(params, dataset, work)
        elif name == "train_student":
            train(params, dataset, work)
        elif name == "evaluate":
            return run_stage(name, params, work, dataset)
        return []

    monkeypatch.setattr(trials, "run_stage", stage)
    for dataset in DATASETS:
        draw_folder(Path("pictures") / dataset, {f"{dataset} {c}": (3, 4) for c in "abcd"})
    return made


def parameters() -> Params:
    return workspace_params(Path(), DATASETS, development=["birds"], methods=["coop", "fdbpl"])


def run(*texts: str, **choices: object) -> tuple[list[Row], list[str]]:
    factors = [parse_factor(text) for text in texts]
    wanted = {"datasets": DATASETS, "methods": ["coop", "fdbpl"], "seeds": [1, 2], **choices}
    done = ablate(parameters(), factors, Path("runs/ablate"), **wanted)
    return done.rows, done.lines


def test_inputs_are_made_again_when_a_list_of_names_changed(calls: Calls) -> None:
    params = changed(parameters(), data={"vocabulary": "words.txt"})
    for words, made in (("ant\nbee", True), ("ant\nbee", False), ("ant\nbee\ncat", True)):
        Path("words.txt").write_text(words)
        ablate(params, [Factor("train.lr", (0.1,))], Path("runs/ablate"), methods=["fdbpl"])
        assert (("prepare_crops", "birds", ()) in calls) == made
        calls.clear()


def test_a_setting_costs_only_what_is_new(calls: Calls) -> None:
    run("train.lr=0.1")
    assert calls.count(("prepare_crops", "birds", ())) == 1
    assert calls.count(("train_student", "birds", ("coop", "fdbpl"))) == 2
    calls.clear()
    run("train.lr=0.1")
    assert calls == []
    run("train.lr=0.1", "fdbpl.first_weight=0.9")
    assert [call for call in calls if call[0] != "evaluate"] == [
        ("train_student", dataset, ("fdbpl",)) for dataset in DATASETS
    ]
    calls.clear()
    run("regions.per_image=3", datasets=["cars"])
    assert [call[:2] for call in calls] == [(stage, "cars") for stage in trials_of_new_inputs()]


def trials_of_new_inputs() -> list[str]:
    return ["prepare_crops", "cache_teacher", "train_student", "evaluate"]


def test_a_stopped_ablation_goes_on_where_it_stood(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = trials.run_stage

    def stop_at_cars(name: str, params: Params, work: Workspace, dataset: str) -> list[str]:
        if (name, dataset) == ("evaluate", "cars"):
            raise KeyboardInterrupt
        return stage(name, params, work, dataset)

    with monkeypatch.context() as patch:
        patch.setattr(trials, "run_stage", stop_at_cars)
        with pytest.raises(KeyboardInterrupt):
            run("train.lr=0.1")
    assert len(list(Path("runs/ablate/trials").iterdir())) == 2
    calls.clear()
    resumed, _ = run("train.lr=0.1")
    assert ("train_student", "birds", ("coop", "fdbpl")) in calls  # of the other rate
    assert [call for call in calls if call[1] == "birds"].count(calls[0]) <= 1
    assert ("prepare_crops", "cars", ()) not in calls
    for path in Path("runs/ablate/trials").iterdir():
        path.unlink()
    assert [row.as_json() for row in run("train.lr=0.1")[0]] == [row.as_json() for row in resumed]


def test_other_code_is_another_trial(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    run("train.lr=0.1")
    calls.clear()
    for module in (trials, digest):
        monkeypatch.setattr(module, "code_digest", lambda parts: f"other {parts[0]}")
    run("train.lr=0.1")
    assert calls.count(("prepare_crops", "birds", ())) == 1
    assert len([call for call in calls if call[0] == "train_student"]) == 4


def test_the_code_that_decides_is_there_and_packaged_weights_count() -> None:
    home = Path(fdbpl.__file__).parent
    for part in (*CODE_OF_INPUTS, *CODE_OF_TRAINING):
        assert (home / part).exists(), part
    assert code_digest(("methods",)) != code_digest(("methods", "training"))


def test_the_numbers_are_the_records(calls: Calls) -> None:
    rows, lines = run("train.lr=0.1", "fdbpl.first_weight=0.9")
    named = {(row.setting, row.method): row for row in rows}
    assert list(named) == [
        ("reference", "coop"),
        ("reference", "fdbpl"),
        ("train.lr=0.1", "coop"),
        ("train.lr=0.1", "fdbpl"),
        ("fdbpl.first_weight=0.9", "fdbpl"),
    ]
    records = [json.loads(path.read_text()) for path in Path("runs/ablate/trials").iterdir()]
    assert len(records) == 2 * len(rows)
    for row in rows:
        for dataset, cell in row.datasets.items():
            assert any(
                record["dataset"] == dataset
                and record["method"] == row.method
                and cell["base"] == mean(seed["base"] for seed in record["seeds"].values())
                and cell["h"] == harmonic_mean(cell["base"], cell["new"])
                for record in records
            )
    unchanged = named["fdbpl.first_weight=0.9", "fdbpl"].difference  # the fake ignores options
    assert unchanged is not None
    assert (unchanged.mean, unchanged.low, unchanged.high) == (0, 0, 0)
    assert "10 of 10 trials were new" in lines[-1]
    assert "birds, cars" in lines[-2]


def test_files_are_the_same_whenever_they_are_written(calls: Calls) -> None:
    files = [Path(f"runs/ablate/ablation.{suffix}") for suffix in ("json", "md", "png")]
    run("train.lr=0.1")
    first = [file.read_bytes() for file in files]
    run("train.lr=0.1")
    assert [file.read_bytes() for file in files] == first
    assert Image.open(files[2]).format == "PNG"
    found = json.loads(first[0])
    assert (found["datasets"], found["seeds"]) == (DATASETS, [1, 2])
    assert set(found["rows"][0]["gradients"]["cross_entropy"]) == {"positive"}


def test_a_setting_that_no_method_reads_is_named(calls: Calls) -> None:
    rows, lines = run("paper.first_weight=0.9")
    assert {row.setting for row in rows} == {"reference"}
    assert "No method here reads paper.first_weight=0.9." in lines


def test_the_development_datasets_are_the_default(calls: Calls) -> None:
    rows, _ = run("train.lr=0.1", datasets=[])
    assert list(rows[0].datasets) == ["birds"]
    params = parameters().model_copy(update={"development": []})
    with pytest.raises(UserError, match=r"no development datasets\. Add datasets there, or"):
        ablate(params, [Factor("train.lr", (0.1,))], Path("runs/ablate"))
    params = parameters().model_copy(update={"development": ["cars", "ships"], "datasets": ["x"]})
    with pytest.raises(UserError, match=r"none of development \(cars, ships\) is among datasets"):
        ablate(params, [Factor("train.lr", (0.1,))], Path("runs/ablate"))
    with pytest.raises(UserError, match="--methods is 'zero_shot', wanted among coop"):
        run("train.lr=0.1", methods=["zero_shot"])


def trial(key: str, *base: float, joint: bool = True) -> Trial:
    gradients = {"0": {"a": [1.0, 0.0], "b": [0.0, 3.0]}, "9": {"a": [3.0, 0.0], "b": [0.0, 5.0]}}
    seeds = {
        str(seed): {
            **{"base": x, "new": x + 10, "h": 0, "gradients": gradients, "inactive": []},
            **({"joint": {"base": x / 2, "new": x / 4, "h": 0}} if joint else {}),
        }
        for seed, x in enumerate(base)
    }
    seeds["1"]["inactive"] = ["b"]
    return Trial(key, seeds)


def test_a_row_by_hand() -> None:
    settings = [Setting({}, parameters()), Setting({"train.lr": 0.1}, parameters())]
    found = {
        ("reference", "birds", "kdpl"): trial("1", 10, 12),
        ("reference", "cars", "kdpl"): trial("2", 20, 24),
        ("reference", "birds", "fdbpl"): trial("3", 11, 13),
        ("reference", "cars", "fdbpl"): trial("4", 21, 29),
        ("train.lr=0.1", "birds", "kdpl"): trial("1", 10, 12),
        ("train.lr=0.1", "cars", "kdpl"): trial("2", 20, 24),
        ("train.lr=0.1", "birds", "fdbpl"): trial("5", 14, 14),
        ("train.lr=0.1", "cars", "fdbpl"): trial("6", 22, 28),
    }
    rows = summarise(settings, DATASETS, ["kdpl", "fdbpl"], found)
    assert [(row.setting, row.method) for row in rows] == [
        ("reference", "kdpl"),
        ("reference", "fdbpl"),
        ("train.lr=0.1", "fdbpl"),  # it touches no trial of KDPL
    ]
    row = rows[2]
    assert row.average("base") == mean([14, 14, 22, 28])
    assert row.average("h") == harmonic_mean(19.5, 29.5)
    assert row.average("joint_h") == harmonic_mean(19.5 / 2, 19.5 / 4)

    def values(base: list[float]) -> np.ndarray:  # means over seeds, of birds and of cars
        return linearised_h(base, [x + 10 for x in base])

    def joint(base: list[float]) -> np.ndarray:
        return linearised_h([x / 2 for x in base], [x / 4 for x in base])

    for h, prefix in ((values, ""), (joint, "joint_")):
        assert row.gaps[f"{prefix}difference"] == t_interval(h([14, 25]) - h([12, 25]))
        assert row.gaps[f"{prefix}over_baseline"] == t_interval(h([14, 25]) - h([11, 22]))
    assert row.difference == row.gaps["difference"]
    assert row.gradients == {
        "a": {"positive": 2, "negative": 0},
        "b": {"positive": 0, "negative": 4},
    }
    assert row.inactive == {"b": 0.5}
    assert rows[0].difference is None
    heads, *_, cells = [line.split(" | ") for line in report.results_table(rows).splitlines()]
    spelt = dict(zip((head.strip("| ") for head in heads), cells, strict=True))
    assert spelt["H"].strip() == f"{row.average('h'):.2f}"
    assert spelt["joint H - KDPL"].strip("| ") == report.spell_gap(row.gaps["joint_over_baseline"])
    assert " 50%" in report.gradients_table(rows).splitlines()[-1]


def test_without_joint_accuracies_there_are_dashes_and_no_gap() -> None:
    settings = [Setting({}, parameters()), Setting({"train.lr": 0.1}, parameters())]
    found = {
        (setting.name, name, "fdbpl"): trial(f"{setting.name} {name}", 10, 12, joint=one == 0)
        for setting in settings
        for one, name in enumerate(DATASETS)
    }
    row = summarise(settings, DATASETS, ["fdbpl"], found)[1]
    assert row.measures == ["base", "new", "h"]
    assert list(row.gaps) == ["difference"]
    assert " - |" in report.results_table([row])


def cli(*words: str) -> Result:
    return CliRunner().invoke(main, ["ablate", *words])


def test_the_command(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    monkeypatch.setattr(
        "fdbpl.tracking.record_ablation",
        lambda rows, files, experiment, report: recorded.append((len(rows), experiment)) or Counts,
    )
    monkeypatch.setattr("fdbpl.cli.read_params", lambda path: parameters())
    done = cli(
        "--vary", "train.lr=0.1", "--methods", "coop,fdbpl", "--seeds", "1 2", "--seeds", "3"
    )
    assert done.exit_code == 0, done.output
    assert "train.lr=0.1" in done.output
    assert "seeds 1, 2, 3" in done.output
    assert recorded == [(4, "fdbpl runs/ablate")]
    for words in (["--vary", "train.lr"], ["--seeds", "one"], ["--run", "../up"]):
        wrong = cli(*words)
        assert (wrong.exit_code, wrong.output.count("\n")) == (2, 1), wrong.output


class Counts:
    written, found = 4, 0
