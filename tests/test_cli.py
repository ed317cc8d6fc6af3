"""The stages by hand, on a small dataset and random small models, and every bad input."""

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import draw_folder
from safetensors.torch import save_file

from fdbpl.artifact import Artifact, decision_of
from fdbpl.cache import open_cache
from fdbpl.cli import main
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.names import FITTED, TRAINED, UNTRAINED
from fdbpl.regions.plan import Plan
from fdbpl.training.schedule import learning_rate
from fdbpl.workspace import Workspace

STAGES = ("prepare-crops", "cache-teacher", "train-student", "evaluate")
METHODS = ["zero_shot", "teacher", "coop", "fdbpl"]


class Project:
    """A folder with parameters, a dataset and weights, worked in by the command line."""

    def __init__(self, folder: Path, architecture: str, state: dict[str, Any]):
        self.folder = folder
        draw_folder(folder / "photos", {"ant": (3, 2), "bee": (3, 2), "cat": (2, 1), "dog": (2, 1)})
        save_file(state, folder / "weights.safetensors")
        model = {"architecture": architecture, "weights": "weights.safetensors"}
        self.params: dict[str, Any] = {
            "datasets": ["mine"],
            "methods": METHODS,
            "seeds": [1, 2],
            "shots": 2,
            "data": {"own": {"mine": {"folder": "photos"}}},
            "regions": {"per_image": 2},
            "student": {**model, "activation": "gelu"},
            "teacher": {**model, "activation": "quickgelu"},
            "train": {"epochs": 2, "batch": 2, "lr": 0.1},
        }
        self.change()

    def change(self, **changes: Any) -> None:
        for key, value in changes.items():
            old = self.params.get(key)
            both = isinstance(value, dict) and isinstance(old, dict)
            self.params[key] = {**old, **value} if both else value
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params))

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(main, list(words))

    def all_stages(self) -> list[str]:
        said = []
        for words in [*((stage, "mine") for stage in STAGES), ("compare",)]:
            result = self(*words)
            assert result.exit_code == 0, result.output
            said.append(result.stdout)
        return said

    def outputs(self) -> dict[str, bytes]:
        runs = self.folder / "runs"
        return {str(p.relative_to(runs)): p.read_bytes() for p in runs.rglob("*") if p.is_file()}

    def fails(self, *words: str) -> str:
        """Run a command that must end in one line and exit code 2, and touch nothing."""
        before = self.outputs()
        result = self(*words)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1, result.stderr
        assert "Traceback" not in result.stderr
        assert self.outputs() == before
        return result.stderr


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: Callable[..., str],
    random_state: Callable[..., dict[str, Any]],
) -> Project:
    monkeypatch.chdir(tmp_path)
    name = architecture()
    return Project(tmp_path, name, random_state(name))


@pytest.fixture
def done(project: Project) -> Project:
    project.said = project.all_stages()
    return project


def test_all_stages_by_hand_work_in_runs(done: Project) -> None:
    planned, cached, trained, evaluated, compared = done.said
    assert "mine: 4 classes (2 base, 2 new)" in planned
    assert "teacher encoded" in cached
    assert "reused 0" in cached
    assert "2 methods x 2 seeds trained" in trained
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
    assert said[1].count("encoded 0, reused") == 2
    assert all(str(done.folder).encode() not in data for data in before.values())


def test_two_classes_one_learned_and_one_new_go_through_all_methods(project: Project) -> None:
    draw_folder(project.folder / "pair", {"ant": (3, 2), "bee": (3, 2)})
    methods = [*UNTRAINED, *FITTED, *TRAINED]
    project.change(
        data={"own": {"mine": {"folder": "pair"}}}, methods=methods, train={"batch": 4, "lr": 0.01}
    )
    planned = project.all_stages()[0]
    assert "mine: 2 classes (1 base, 1 new)" in planned
    comparison = json.loads(Path("runs/default/metrics/compare.json").read_text())
    assert list(comparison["methods"]) == methods
    for found in comparison["methods"].values():  # one class competes with none
        assert found["datasets"]["mine"]["base"] == 100
        assert found["datasets"]["mine"]["new"] in (100, None)  # a probe knows no new class
    result = project("rejection")
    assert result.exit_code == 0, result.output
    assert "NaN" not in Path("runs/default/metrics/rejection.json").read_text()


def test_more_seeds_and_crops_encode_only_what_is_new(done: Project) -> None:
    done.change(shots=3, regions={"per_image": 3})
    assert done("prepare-crops", "mine").exit_code == 0
    said = done("cache-teacher", "mine").stdout
    assert "encoded 0" not in said
    assert "reused 0" not in said


def test_an_interrupted_training_goes_on(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = done.outputs()

    def fails(_params: object, epoch: int) -> float:
        rates.append(epoch)
        if len(rates) == 4:  # in the second epoch of the second method
            raise KeyboardInterrupt
        return learning_rate(_params, epoch)  # type: ignore[arg-type]

    rates: list[int] = []
    monkeypatch.setattr("fdbpl.training.interim.SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("fdbpl.training.loop.learning_rate", fails)
        assert done("train-student", "mine").exit_code != 0
    interims = {path for path in done.outputs().keys() - before.keys() if "interim" in path}
    assert {Path(path).name for path in interims} == {
        "mine-coop.safetensors", "mine-fdbpl.safetensors",
    }  # fmt: skip
    result = done("train-student", "mine")
    assert "  coop: interrupted before, was done\n" in result.stdout
    assert "  fdbpl: interrupted before, went on in epoch 1 of 2\n" in result.stdout
    assert done.outputs() == before


def test_runs_stand_apart(done: Project) -> None:
    before = done.outputs()
    assert done("prepare-crops", "mine", "--run", "other").exit_code == 0
    after = done.outputs()
    assert before.items() < after.items()
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"other"}


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/tmp/x", "../up"])
def test_a_run_is_a_plain_name(project: Project, name: str) -> None:
    assert "wanted a plain name" in project.fails("prepare-crops", "mine", "--run", name)


def test_an_unknown_dataset(done: Project) -> None:
    assert "dataset 'mien' is unknown" in done.fails("prepare-crops", "mien")
    assert "Run fdbpl prepare-crops mien first" in done.fails("train-student", "mien")


def test_an_unknown_method_and_other_wrong_parameters(done: Project) -> None:
    done.change(methods=["copo"])
    for words in [*((stage, "mine") for stage in STAGES), ("compare",)]:
        assert "'methods' is ['copo'], wanted" in done.fails(*words)
    done.change(methods=METHODS, train={"lr": -1})
    assert "'train.lr' is -1, wanted a number greater than 0" in done.fails("evaluate", "mine")


def test_a_file_where_a_folder_is_wanted(project: Project) -> None:
    Path("runs").mkdir()
    Path("runs/default").write_text("")
    said = project.fails("prepare-crops", "mine")
    assert "runs/default/plans: Not a directory. Move away the file" in said


def test_a_full_disk_names_what_could_not_be_written(project: Project, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fdbpl.regions.plan.write_regions", full)
    said = project.fails("prepare-crops", "mine")
    assert "runs/default/plans/mine: No space left on device. Make room" in said


def test_a_training_that_diverged_leaves_what_was_there(done: Project) -> None:
    done.change(train={"lr": 1e30})
    said = done.fails("train-student", "mine")
    assert "method 'coop', seed 1: the training diverged in epoch 2 of 2. Lower train.lr" in said


def test_no_parameters(project: Project) -> None:
    assert "gone.yaml: no such file" in project.fails("compare", "--params", "gone.yaml")


def test_dvc_reads_the_projects_own_parameters(project: Project) -> None:
    (project.folder / "other.yaml").write_text("{}")
    said = project.fails("compare", "--dvc", "--params", "other.yaml")
    assert "--dvc reads params.yaml, not other.yaml" in said


def test_dvc_is_called_in_a_project_of_its_own_and_for_datasets_it_knows(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def repro(command: list[str], **_: Any) -> SimpleNamespace:
        calls.append(command[2:])
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr("fdbpl.cli.subprocess.run", repro)
    wanted = "no dvc.yaml of a DVC project here. Run fdbpl in the project's folder, or leave out"
    assert wanted in project.fails("compare", "--dvc")
    Path("dvc.yaml").write_text("stages: {}")
    assert wanted in project.fails("compare", "--dvc")
    Path(".dvc").mkdir()
    said = project.fails("evaluate", "yours", "--dvc")
    assert "params.yaml: datasets has no 'yours', which --dvc needs; it lists mine. Add" in said
    assert calls == []
    assert project("evaluate", "mine", "--dvc").exit_code == 3  # DVC's own
    assert project("compare", "--dvc").exit_code == 3
    assert calls == [["dvc", "repro", "evaluate@mine"], ["dvc", "repro", "compare"]]


def test_a_missing_and_an_empty_folder(done: Project) -> None:
    done.change(data={"own": {"mine": {"folder": "gone"}}})
    assert "gone: no such folder" in done.fails("prepare-crops", "mine")
    Path("gone").mkdir()
    assert "gone: no class folders in it" in done.fails("prepare-crops", "mine")


def test_a_class_with_fewer_images_than_shots_is_used_and_named(done: Project) -> None:
    done.change(shots=16)
    result = done("prepare-crops", "mine")
    assert result.exit_code == 0
    assert "2 classes short of images: ant: 3 of 16 shots; bee: 3 of 16 shots" in result.stdout


def test_an_unreadable_image(done: Project) -> None:
    Path("photos/test/ant/00.png").write_bytes(b"no image")
    said = done.fails("prepare-crops", "mine")
    assert "1 test images of 'mine' in photos are unreadable, the first: test/ant/00.png" in said
    done.change(data={"allow_unreadable_test_images": True})
    result = done("prepare-crops", "mine")
    assert "1 unreadable test images: test/ant/00.png" in result.stdout


def test_an_image_that_vanished_or_changed_since_the_plan(project: Project) -> None:
    project("prepare-crops", "mine")
    image = Path("photos/test/ant/00.png")
    data = image.read_bytes()
    image.unlink()
    assert "ant/00.png" in project.fails("cache-teacher", "mine")
    image.write_bytes(Path("photos/test/ant/01.png").read_bytes())
    assert "ant/00.png: content hash" in project.fails("cache-teacher", "mine")
    image.write_bytes(data)
    assert project("cache-teacher", "mine").exit_code == 0


def test_weights_that_do_not_fit(done: Project, random_state, architecture) -> None:
    save_file(random_state(architecture({"layers": 3})), "weights.safetensors")
    for stage in ("cache-teacher", "train-student"):
        assert "weights.safetensors has in excess" in done.fails(stage, "mine")
    Path("weights.safetensors").unlink()
    assert "no such file, and no pretrained tag" in done.fails("cache-teacher", "mine")


def test_a_cache_made_by_another_teacher_or_student(done: Project, random_state) -> None:
    name = done.params["teacher"]["architecture"]
    save_file(random_state(name, seed=1), "other.safetensors")
    done.change(teacher={"weights": "other.safetensors"})
    for stage in ("train-student", "evaluate"):
        assert "caches/mine/teacher" in done.fails(stage, "mine")
    done.change(teacher={"weights": "weights.safetensors"})
    done.change(student={"activation": "quickgelu"})
    assert "activation is " in done.fails("train-student", "mine")


def test_a_cache_of_another_plan(done: Project) -> None:
    done.change(regions={"seed": 7})
    assert done("prepare-crops", "mine").exit_code == 0
    assert "policy.seed is 0, wanted 7" in done.fails("train-student", "mine")


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


def test_logits_serve_all_stages_of_methods_that_need_no_features(project: Project) -> None:
    methods = ["zero_shot", "teacher", "kdpl"]
    project.change(methods=methods, cache={"payload": "float16"})
    project.all_stages()
    metrics = Path("runs/default/metrics/compare.json")
    before = json.loads(metrics.read_text())
    for payload, scale in (("logits", "own"), ("top1", "own"), ("top1", "student")):
        project.change(cache={"payload": payload}, teacher={"logit_scale": scale})
        said = project.all_stages()
        assert "teacher encoded 0" in said[1]
        assert json.loads(metrics.read_text()) == before
        kept = open_cache("runs/default/caches/mine/teacher").manifest.identity.payload
        assert kept.get("temperature", "own") == scale
    project.change(methods=["fdbpl"])
    assert "method 'fdbpl' learns from the teacher's features" in project.fails(
        "train-student", "mine"
    )
    project.change(methods=["kdpl"], data={"vocabulary": "imagenet"})
    assert project("prepare-crops", "mine").exit_code == 0
    assert "data.vocabulary asks the teacher for other names" in project.fails(
        "train-student", "mine"
    )


def test_a_classifier_of_another_plan(done: Project) -> None:
    done.change(regions={"per_image": 3})
    for stage in ("prepare-crops", "cache-teacher"):
        assert done(stage, "mine").exit_code == 0
    assert "learned under plan" in done.fails("evaluate", "mine")


def test_a_comparison_needs_every_dataset_method_and_seed(done: Project) -> None:
    done.change(datasets=["mine", "dtd"])
    assert "Run fdbpl evaluate dtd first" in done.fails("compare")
    done.change(datasets=["mine"], seeds=[1, 2, 3])
    said = done.fails("compare")
    assert "mine.json: no results of zero_shot seed 3 and 3 more. Run fdbpl evaluate mine" in said
    done.change(seeds=[2])
    assert done("compare").exit_code == 0
    Path("runs/default/metrics/datasets/mine.json").write_text("[")
    assert "damaged" in done.fails("compare")


def test_damaged_plans_and_classifiers_are_named(done: Project) -> None:
    classifier = Path("runs/default/prompts/mine/coop-seed1.classifier.safetensors")
    classifier.write_bytes(b"damaged")
    assert "coop-seed1.classifier.safetensors" in done.fails("evaluate", "mine")
    Path("runs/default/plans/mine/images.npy").write_bytes(b"")
    assert "a damaged plan" in done.fails("train-student", "mine")


def test_a_gpu_that_is_not_there(project: Project, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    project.change(device="cuda")
    project("prepare-crops", "mine")
    assert "device is 'cuda', but torch finds no GPU" in project.fails("cache-teacher", "mine")


TRANSFER_STAGES = ("prepare-transfer", "cache-transfer", "train-transfer", "transfer")


def test_a_transfer_by_hand_tests_the_sources_prompts_unchanged(done: Project) -> None:
    for name, classes in (("inked", ("ant", "bee", "cat", "dog")), ("fish", ("cod", "eel"))):
        draw_folder(done.folder / name, dict.fromkeys(classes, (1, 4)))
        done.change(data={"own": {**done.params["data"]["own"], name: {"folder": name}}})
    done.change(transfer={"source": "mine", "targets": ["inked", "fish"]})
    assert "Run fdbpl prepare-transfer first" in done.fails("train-transfer")
    before = done.outputs()
    said = []
    for stage in TRANSFER_STAGES:
        result = done(stage)
        assert result.exit_code == 0, result.output
        said.append(result.stdout)
    planned, cached, trained, transferred = said
    assert "fish: 2 classes, 8 test images" in planned
    assert "fish: student encoded 8, reused 0" in cached
    assert re.search(r"mine: student encoded \d+, reused [1-9]", cached)  # the base half
    assert "2 methods x 2 seeds trained" in trained
    assert "mine to 2 datasets: 4 methods evaluated on 30 test images" in transferred
    assert before.items() < done.outputs().items()  # base-to-new stays as it was
    compared = done("compare").stdout
    assert "Learned on all classes of mine" in compared
    assert "shifted, average of 1" in compared

    work = Workspace(Path("runs/default"))
    record = json.loads(work.transferred.read_text())
    plan = Plan.load(work.source.plan("mine"))
    features = open_cache(work.source.cache("mine", "student")).column("test")
    labels = plan.images["label"][plan.test]
    for method in ("coop", "fdbpl"):
        for seed in (1, 2):
            path = work.source.learned("mine", method, seed, "classifier")
            decision = decision_of(Artifact.load(path, "classifier"))
            plain = accuracy(features, labels, decision, range(4))
            assert record["methods"][method]["seeds"][str(seed)]["mine"] == plain
    again = done.outputs()
    for stage in TRANSFER_STAGES:
        assert done(stage).exit_code == 0
    assert done.outputs() == again

    done.change(student={"activation": "quickgelu"})
    assert "activation is " in done.fails("transfer")


def test_help_names_the_stages() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    assert all(stage in said for stage in (*STAGES, *TRANSFER_STAGES, "compare"))
