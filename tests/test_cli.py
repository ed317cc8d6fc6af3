"""The stages by hand, on a small dataset and random small models."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import draw_folder
from kinds import KNOWN
from projects import METHODS, STAGES, Project
from workspaces import run_of

from fdbpl.cache import open_cache
from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.cli import main
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.registry import IMPORTED
from fdbpl.regions.plan import Plan
from fdbpl.system.workspace import Workspace
from fdbpl.training.schedule import learning_rate


def test_all_stages_by_hand_work_in_runs(done: Project) -> None:
    planned, cached, trained, evaluated, compared = done.said
    assert "mine: 4 classes (2 learned under base-to-new)" in planned
    assert "teacher encoded" in cached
    assert "reused 0" in cached
    assert "4 methods x 2 seeds: 4 trainings, 0 looked up" in trained
    assert "4 methods evaluated on 6 test images" in evaluated
    assert "| FDBPL, ours" in compared
    comparison = json.loads((Path("runs/default/metrics/compare.json")).read_text())
    assert list(comparison["methods"]) == METHODS
    assert sorted(path.name for path in Path().iterdir()) == sorted(
        ["params.yaml", "photos", "runs", "weights.safetensors", ".fdbpl"]
    )


def test_everything_again_gives_the_same_bytes_and_encodes_nothing(done: Project) -> None:
    before = done.outputs()
    said = done.all_stages()
    assert done.outputs() == before
    assert said[1].count("encoded 0, reused") == 3
    assert all(str(done.folder).encode() not in data for data in before.values())


def test_two_classes_one_learned_and_one_new_go_through_all_methods(project: Project) -> None:
    draw_folder(project.folder / "pair", {"ant": (3, 2), "bee": (3, 2)})
    methods = [name for name in KNOWN if name != IMPORTED]
    project.change(
        data={"own": {"mine": {"folder": "pair"}}}, methods=methods, train={"batch": 4, "lr": 0.01}
    )
    planned, _, _, evaluated, compared = project.all_stages()
    assert "mine: 2 classes (1 learned under base-to-new)" in planned
    assert "base-to-new: a single class in base, new, so nothing can be told from it" in evaluated
    assert "Base-to-new: a single class in base of mine, new of mine, so that every" in compared
    assert "100.00" not in compared.partition("joint H")[0]
    assert "Averages" not in compared
    comparison = json.loads(Path("runs/default/metrics/compare.json").read_text())
    assert list(comparison["methods"]) == methods
    for found in comparison["methods"].values():  # one class competes with none
        assert found["datasets"]["mine"]["base"] == 100
        assert found["datasets"]["mine"]["new"] in (100, None)  # a probe knows no new class
    result = project("ood")
    assert result.exit_code == 0, result.output
    assert "NaN" not in Path("runs/default/metrics/ood.json").read_text()


def test_runs_stand_apart_and_more_seeds_and_crops_encode_only_what_is_new(done: Project) -> None:
    before = done.outputs()
    done.change(shots=3, regions={"per_image": 3})
    assert done("prepare-crops", "mine", "--run", "other").exit_code == 0
    said = done("cache-teacher", "mine", "--run", "other").stdout
    assert "encoded 0" not in said
    assert "reused 0" not in said
    after = done.outputs()
    assert before.items() < after.items()
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"other"}


def test_an_interrupted_training_goes_on(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = done.outputs()

    def fails(_params: object, epoch: int) -> float:
        rates.append(epoch)
        if len(rates) == 4:  # in the second epoch of the second method
            raise KeyboardInterrupt
        return learning_rate(_params, epoch)  # type: ignore[arg-type]

    rates: list[int] = []
    monkeypatch.setattr("fdbpl.training.checkpoint.SECONDS", 0.0)
    shutil.rmtree(Workspace(Path("runs/default")).trainings)
    with monkeypatch.context() as patch:
        patch.setattr("fdbpl.training.loop.learning_rate", fails)
        assert done("train-student", "mine").exit_code != 0
    (left,) = done.outputs().keys() - before.keys()
    assert left.endswith(".unfinished")
    result = done("train-student", "mine")
    assert "2 trainings, 2 looked up" in result.stdout
    assert "coop: interrupted" not in result.stdout
    assert "  fdbpl: interrupted before, went on in epoch 1 of 2\n" in result.stdout
    assert done.outputs() == before


def test_dvc_is_called_in_a_project_of_its_own_and_for_datasets_it_knows(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def repro(command: list[str], **_: Any) -> SimpleNamespace:
        calls.append(command[2:])
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr("fdbpl.cli.stages.subprocess.run", repro)
    wanted = "no dvc.yaml of a DVC project here. Run fdbpl in the project's folder, or leave out"
    assert wanted in project.fails("compare", "--dvc")
    Path("dvc.yaml").write_text("stages: {}")
    assert wanted in project.fails("compare", "--dvc")
    Path(".dvc").mkdir()
    Path(".git").mkdir()
    said = project.fails("evaluate", "yours", "--dvc")
    assert "params.yaml: datasets has no 'yours', which --dvc needs; it lists mine. Add" in said
    said = project.fails("compare", "--dvc", "--params", "other.yaml")
    assert "--dvc reads params.yaml, not other.yaml" in said
    assert calls == []
    assert project("evaluate", "mine", "--dvc").exit_code == 3  # DVC's own
    assert project("compare", "--dvc").exit_code == 3
    assert calls == [["dvc", "repro", "evaluate@mine"], ["dvc", "repro", "compare"]]


def test_a_class_with_fewer_images_than_shots_is_used_and_named(project: Project) -> None:
    project.change(shots=16)
    result = project("prepare-crops", "mine")
    assert result.exit_code == 0
    assert "2 classes short of images: ant: 3 of 16 shots; bee: 3 of 16 shots" in result.stdout


def test_the_manifest_says_all_that_the_features_depend_on(done: Project) -> None:
    identity = open_cache("runs/default/caches/mine/teacher").manifest.identity
    assert identity.encoder.keys() == {
        *("architecture", "configuration", "weights", "activation"),
        *("image_size", "mean", "std", "interpolation", "region_view", "test_view"),
        *("precision", "numerics"),
    }
    assert re.fullmatch(r"cpu \w+, batch 64, torch \d+\.\d+", identity.encoder["numerics"])
    assert identity.model.keys() == {"source", "logit_scale"}
    assert identity.policy["generator"] == "philox-1"
    assert identity.payload == {"name": "float16"}


def test_a_transfer_by_hand_tests_the_sources_prompts_unchanged(done: Project) -> None:
    own = done.params["data"]["own"]
    for name, classes in (("inked", ("ant", "bee", "cat", "dog")), ("fish", ("cod", "eel"))):
        draw_folder(done.folder / name, dict.fromkeys(classes, (2, 4)))
        own[name] = {"folder": name}
    before = done.outputs()
    datasets = ["mine", "inked", "fish"]
    done.change(datasets=datasets, shifted=["inked"], protocols=["base-to-new", "transfer"])
    said = {}
    for stage in STAGES:
        for dataset in datasets:
            result = done(stage, dataset)
            assert result.exit_code == 0, result.output
            said[stage, dataset] = result.stdout
    assert "inked: 4 classes, 16 test images" in said["prepare-crops", "inked"]
    cached = said["cache-teacher", "mine"]
    assert re.search(r"mine: student encoded \d+, reused [1-9]", cached)  # the base half
    trained = "4 methods x 2 seeds x 2 tasks: 4 trainings, 4 looked up"  # base-to-new's
    assert trained in said["train-student", "mine"]
    assert "nothing is learned here" in said["train-student", "inked"]
    compared = done("compare").stdout
    assert "Learned on all classes of mine" in compared
    assert "shifted, average of 1" in compared
    alone = re.findall("a single class in .*, so that", compared)
    assert alone == ["a single class in base of fish, new of fish, so that"]

    work = Workspace(Path("runs/default"))
    plan = Plan.load(work.plan("mine"))
    features = open_cache(work.cache("mine", "student")).features("test")
    labels = plan.images["label"][plan.test]
    for method in ("coop", "fdbpl"):
        for seed in (1, 2):
            path = work.learned("mine", "transfer", method, seed, "classifier")
            decision = decision_of(Artifact.load(path, "classifier"))
            plain = accuracy(features, labels, decision, range(4))
            cell = run_of(work, "mine", "transfer")["methods"][method][str(seed)]
            assert cell["measures"]["accuracy"] == plain
    old = json.loads(before["default/metrics/datasets/mine.json"])["protocols"]["base-to-new"]["2"]
    found = run_of(work, "mine")["methods"]
    for method, seeds in old["methods"].items():  # base-to-new stays as it was
        for seed, cell in seeds.items():
            assert found[method][seed]["measures"] == cell["measures"]

    done.change(student={"activation": "quickgelu"})
    assert "encoder.activation" in done.fails("evaluate", "fish")


def test_a_curve_over_shots_encodes_once_what_the_most_shots_need(project: Project) -> None:
    project.change(protocols=["all-classes"], shots=3)
    project.all_stages()
    project.change(shots=[1, 2, 3])
    said = project.all_stages()
    assert said[1].count("encoded 0, reused") == 3
    assert "4 methods x 2 seeds x 3 tasks: 8 trainings, 4 looked up" in said[2]  # the most's
    comparison = json.loads(Path("runs/default/metrics/compare.json").read_text())
    for method in METHODS:
        assert list(comparison["all_classes"]["methods"][method]["avg"]) == ["1", "2", "3"]


def test_help_names_the_stages() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    assert all(stage in said for stage in (*STAGES, "compare", "ood"))
