"""A whole ablation over random features: what runs, and what the report says."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import draw_folder
from PIL import Image
from workspaces import prepare, run_of, train, workspace_params

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import linearised_h, t_interval
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.system.workspace import Workspace
from studies.ablation import __main__ as command
from studies.ablation import report, trials
from studies.ablation.grid import Factor, Setting, settings_of
from studies.ablation.summary import summarise
from studies.ablation.trials import run_trials
from studies.records import Seeds

DATASETS = ["birds", "cars"]
METHODS = ["coop", "fdbpl"]
Calls = list[tuple[str, str, tuple[str, ...]]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The stages that an ablation runs, with random vectors in place of models."""
    monkeypatch.chdir(tmp_path)
    made: Calls = []

    def stage(name: str, params: Params, work: Workspace, dataset: str) -> list[str]:
        made.append((name, dataset, tuple(params.methods)))
        if name == "prepare_crops":
            prepare(params, dataset, work)
        elif name == "train_student":
            train(params, dataset, work)
        elif name == "evaluate":
            return run_stage(name, params, work, dataset)
        return []

    monkeypatch.setattr(trials, "run_stage", stage)
    monkeypatch.setattr(command, "read_params", lambda path: parameters())
    for dataset in DATASETS:
        draw_folder(Path("pictures") / dataset, {f"{dataset} {c}": (3, 4) for c in "abcd"})
    return made


def parameters() -> Params:
    return workspace_params(Path(), DATASETS, development=["birds"], methods=METHODS)


def cli(*words: str) -> Result:
    return CliRunner().invoke(command.main, list(words))


def test_other_protocols_of_the_parameters_are_left_alone(calls: Calls) -> None:
    """A transfer's source need not be among the datasets that choices are made on."""
    several = {"protocols": ["base-to-new", "transfer"], "source": "birds"}
    settings = settings_of(parameters().model_copy(update=several), [], cross=False)
    found = run_trials(settings, ["cars"], ["coop"], Path("x"))
    plain = run_trials(settings_of(parameters(), [], cross=False), ["cars"], ["coop"], Path("y"))
    assert found == plain


def test_settings_share_inputs_and_only_methods_that_they_touch_are_trained(calls: Calls) -> None:
    factors = [Factor("train.lr", (0.1,)), Factor("fdbpl.first_weight", (0.9,))]
    factors += [Factor("regions.per_image", (3,)), Factor("paper.first_weight", (0.9,))]
    settings = settings_of(parameters(), factors, cross=False)
    reports: list[tuple[int, int]] = []
    found = run_trials(settings, ["birds"], METHODS, Path("x"), lambda *done: reports.append(done))
    inputs, whole, alone = ("prepare_crops", "cache_teacher"), ("coop", "fdbpl"), ("fdbpl",)
    learned = ("train_student", "evaluate")
    assert calls == [
        (stage, "birds", methods)
        for stages, methods in (
            (inputs + learned, whole),  # the reference
            (learned, whole),
            (learned, alone),
            (inputs + learned, whole),  # of three regions an image
        )
        for stage in stages
    ]
    assert reports[-1] == (5, 5)
    untouched = found["paper.first_weight=0.9", "birds", "coop"]
    assert untouched == found["reference", "birds", "coop"]
    assert untouched != found["train.lr=0.1", "birds", "coop"]


def test_the_numbers_are_the_records_and_files_are_the_same_whenever_written(calls: Calls) -> None:
    words = ["--vary", "train.lr=0.1", "--datasets", "birds,cars", "--methods", "coop,fdbpl"]
    written = []
    for _ in range(2):
        done = cli(*words, "--seeds", "1 2")
        assert done.exit_code == 0, done.output
        files = [Path(f"runs/ablate/ablation.{suffix}") for suffix in ("json", "md", "png")]
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    assert Image.open(files[2]).format == "PNG"
    found = json.loads(written[0][0])
    assert (found["datasets"], found["seeds"]) == (DATASETS, [1, 2])
    names = [(row["setting"], row["method"]) for row in found["rows"]]
    assert names == [(s, m) for s in ("reference", "train.lr=0.1") for m in METHODS]
    assert set(found["rows"][0]["gradients"]["cross_entropy"]) == {"positive"}
    last = {row["method"]: row for row in found["rows"][2:]}
    for path in Path("runs/ablate/inputs").glob("*/metrics/datasets/*.json"):  # of the last setting
        methods = run_of(Workspace(path.parents[2]), path.stem)["methods"]
        for method, row in last.items():
            base = mean(cell["measures"]["base"] for cell in methods[method].values())
            assert row["datasets"][path.stem]["base"] == base
    assert "2 datasets (birds, cars), seeds 1, 2; per cent." in done.output


def test_the_development_datasets_are_the_default_and_what_nothing_reads_is_named(
    calls: Calls,
) -> None:
    done = cli("--vary", "released.first_weight=0.9", "--methods", "coop", "--run", "tried")
    assert done.exit_code == 0, done.output
    assert "1 datasets (birds), seeds 11, 12, 13;" in done.output
    assert "No method here reads released.first_weight=0.9." in done.output
    assert Path("runs/tried/ablation.md").exists()


@pytest.mark.parametrize(
    ("words", "changes", "says"),
    [
        ([], {"development": []}, "no development datasets. Add datasets there, or"),
        ([], {"development": ["x"]}, "none of development (x) is among datasets"),
        (
            ["--methods", "zero_shot"],
            {},
            "--methods is 'zero_shot', wanted among tip_adapter_f, ",
        ),
        (["--vary", "train.lr"], {}, "--vary is 'train.lr'"),
        (["--seeds", "one"], {}, "--seeds is 'one', wanted whole numbers"),
        (["--run", "../up"], {}, "--run is '../up', wanted a plain name"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = parameters().model_copy(update=changes)
    monkeypatch.setattr(command, "read_params", lambda path: params)
    done = cli(*words)
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert says in done.output


def trial(*base: float, joint: bool = True) -> Seeds:
    gradients = {"0": {"a": [1.0, 0.0], "b": [0.0, 3.0]}, "9": {"a": [3.0, 0.0], "b": [0.0, 5.0]}}
    seeds = {
        str(seed): {
            **{"base": x, "new": x + 10, "gradients": gradients, "inactive": []},
            **({"joint": {"base": x / 2, "new": x / 4}} if joint else {}),
        }
        for seed, x in enumerate(base)
    }
    seeds["1"]["inactive"] = ["b"]
    return seeds


def test_a_row_by_hand() -> None:
    settings = [Setting({}, parameters()), Setting({"fdbpl.first_weight": 1}, parameters())]
    first, second = (one.name for one in settings)
    found = {
        (first, "birds", "kdpl"): trial(10, 12),
        (first, "cars", "kdpl"): trial(20, 24),
        (first, "birds", "fdbpl"): trial(11, 13),
        (first, "cars", "fdbpl"): trial(21, 29),
        (second, "birds", "kdpl"): trial(10, 12),
        (second, "cars", "kdpl"): trial(20, 24),
        (second, "birds", "fdbpl"): trial(14, 14),
        (second, "cars", "fdbpl"): trial(22, 28),
    }
    rows = summarise(settings, DATASETS, ["kdpl", "fdbpl"], found)
    names = [(first, "kdpl"), (first, "fdbpl"), (second, "fdbpl")]  # KDPL is not touched
    assert [(row.setting.name, row.method) for row in rows] == names
    row = rows[2]
    assert row.averages["base"] == mean([14, 14, 22, 28])
    assert row.averages["h"] == harmonic_mean(19.5, 29.5)
    assert row.averages["joint_h"] == harmonic_mean(19.5 / 2, 19.5 / 4)

    def values(base: list[float]) -> np.ndarray:  # means over seeds, of birds and of cars
        return linearised_h(base, [x + 10 for x in base])

    def joint(base: list[float]) -> np.ndarray:
        return linearised_h([x / 2 for x in base], [x / 4 for x in base])

    for h, prefix in ((values, ""), (joint, "joint_")):
        assert row.gaps[f"{prefix}difference"] == t_interval(h([14, 25]) - h([12, 25]))
        assert row.gaps[f"{prefix}over_baseline"] == t_interval(h([14, 25]) - h([11, 22]))
    assert row.gradients == {
        "a": {"positive": 2, "negative": 0},
        "b": {"positive": 0, "negative": 4},
    }
    assert row.inactive == {"a": 0, "b": 0.5}
    assert rows[0].gaps == {}
    heads, *_, cells = [line.split(" | ") for line in report.results_table(rows).splitlines()]
    spelt = dict(zip((head.strip("| ") for head in heads), cells, strict=True))
    assert spelt["H"].strip() == f"{row.averages['h']:.2f}"
    assert spelt["joint H - KDPL"].strip("| ") == report.spell_gap(row.gaps["joint_over_baseline"])
    assert " 50%" in report.gradients_table(rows).splitlines()[-1]


def test_without_joint_accuracies_there_are_dashes_and_no_gap() -> None:
    settings = [Setting({}, parameters()), Setting({"train.lr": 0.1}, parameters())]
    found = {
        (setting.name, name, "fdbpl"): trial(10, 12, joint=one == 0)
        for setting in settings
        for one, name in enumerate(DATASETS)
    }
    row = summarise(settings, DATASETS, ["fdbpl"], found)[1]
    assert list(row.averages) == ["base", "new", "h"]
    assert list(row.gaps) == ["difference"]
    assert " - |" in report.results_table([row])
