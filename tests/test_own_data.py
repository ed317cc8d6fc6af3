"""Own pictures without classes, through all stages by hand, on random small models."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_image
from kinds import KNOWN, LABELLED, TRAINED
from projects import STAGES, Project
from workspaces import run_of

from fdbpl.cache import open_cache
from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.registry import IMPORTED, title_of
from fdbpl.regions.plan import Plan
from fdbpl.reporting import region_view
from fdbpl.reporting.region_view import TileCaption
from fdbpl.settings.params import check_params
from fdbpl.system.workspace import Workspace
from fdbpl.tracking.records import read_records

NAMES = ("Crème brûlée", "T-shirt", "snow_leopard", "a very old stone bridge")
METHODS = [name for name in KNOWN if name != IMPORTED]
FREE = [method for method in METHODS if method not in LABELLED]
WORK = Workspace(Path("runs/default"))


@pytest.fixture
def project(project: Project) -> Project:
    """Twelve pictures of four classes, labelled ones beside them, every method."""
    shutil.rmtree("photos")
    for index in range(12):
        draw_image(Path("photos") / f"IMG {index}.png", index)
    for index, class_name in enumerate(NAMES):
        draw_image(Path("labelled") / class_name / "é.png", 100 + index)
    Path("names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    own = {"mine": {"images": "photos", "names": "names.txt"}}
    project.change(data={"own": own}, methods=METHODS, protocols=["all-classes"])
    return project


def all_stages(project: Project) -> dict[str, str]:
    said = {}
    for words in [*((stage, "mine") for stage in STAGES), ("compare",), ("ood",)]:
        result = project(*words)
        assert result.exit_code == 0, result.output
        said[words[0]] = result.stdout
    return said


def metrics(protocol: str = "all-classes") -> dict[str, Any]:
    return run_of(WORK, "mine", protocol)


def learned(method: str, kind: str, seed: int = 1) -> Artifact:
    return Artifact.load(WORK.learned("mine", "all-classes", method, seed, kind), kind)


def measures(found: dict[str, Any]) -> set[str]:
    cells = (cell for seeds in found["methods"].values() for cell in seeds.values())
    return {name for cell in cells for name in cell["measures"]}


def test_without_a_test_the_agreement_with_the_teacher_is_told(project: Project) -> None:
    said = all_stages(project)
    plan = Plan.load(WORK.plan("mine"))
    assert [len(rows) for rows in plan.shots.values()] == [8, 8]  # 2 shots for each of 4 names
    assert "2 held-out images" in said["prepare-crops"]
    assert f"{len(FREE)} methods x 2 seeds: " in said["train-student"]
    labelled = ", ".join(title_of(name) for name in METHODS if name in LABELLED)
    assert f"they learn from labels: {labelled}\n" in said["train-student"]
    agreeing = f"agreement with the teacher of {len(FREE) - 1} methods"  # itself is none of them
    assert f"no accuracy is known; {agreeing}" in said["evaluate"]
    assert "Agreement with the teacher on held-out images" in said["compare"]
    assert "nothing is out of distribution" in said["ood"]
    found = metrics()
    assert measures(found) == {"agreement"}
    assert found["left_out"] == [m for m in METHODS if m in ("teacher", *LABELLED)]
    assert list(found["methods"]) == [name for name in FREE if name != "teacher"]
    comparison = json.loads(WORK.comparison("json").read_text())
    assert comparison["methods"] == {}
    assert comparison["all_classes"]["datasets"] == {
        "mine": {"kind": "agreement", "test_images": 2}
    }


def test_pictures_without_a_class_are_drawn_without_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[TileCaption] = []
    monkeypatch.setattr(region_view, "draw_sheet", lambda _, tiles, __: drawn.extend(tiles))
    for stage in STAGES[:2]:
        assert project(stage, "mine").exit_code == 0
    cache = WORK.cache("mine", "teacher")
    result = project("cache", "inspect", str(cache), "--out", "out.png", "--count", "3")
    assert result.exit_code == 0, result.output
    assert [known.label for _, known in drawn] == 3 * ["class unknown"]


def test_a_labelled_folder_is_the_test(project: Project) -> None:
    own = {"images": "photos", "names": "names.txt", "test": "labelled"}
    project.change(data={"own": {"mine": own}}, shots="all")
    said = all_stages(project)
    assert "12 training images for 2 seeds, 24 regions, 4 test images" in said["prepare-crops"]
    assert "All classes learned, all competing; accuracy in per cent" in said["compare"]
    found, plan = metrics(), Plan.load(WORK.plan("mine"))
    assert measures(found) == {"accuracy"}
    assert (found["classes"], found["test_images"]) == ({"all": 4}, {"all": 4})
    assert list(found["methods"]) == FREE
    student = open_cache(WORK.cache("mine", "hidden")).features("test")
    classifier = learned("fdbpl", "classifier", seed=2)
    labels = plan.images["label"][plan.test]
    wanted = accuracy(student, labels, decision_of(classifier), range(4))
    assert found["methods"]["fdbpl"]["2"]["measures"]["accuracy"] == wanted
    assert classifier.about["class_names"] == [name.replace("_", " ") for name in NAMES]
    assert classifier.about["learned_classes"] == classifier.about["class_names"]
    assert classifier.arrays["bridge.rows"].shape == (4, student.shape[1] + 1)


def test_results_are_recorded(project: Project) -> None:
    all_stages(project)
    records = read_records(check_params(project.params), WORK)
    assert records.notes == ()
    assert len(records.seeds) == 2 * (len(FREE) - 1)
    record = next(one for one in records.seeds if one.method == "kdpl")
    assert set(record.accuracies) == {"agreement"}
    assert record.setting == "teacher-agreement"
    assert "shots" not in record.params
    assert record.counts["all_classes"] == 4


def test_a_table_may_leave_its_training_rows_without_class(project: Project) -> None:
    rows = [f"photos/IMG {index}.png,,train" for index in range(12)]
    rows += [f"labelled/{name}/é.png,{name},test" for name in NAMES]
    Path("list.csv").write_text("\n".join(["image,class,split", *rows]), encoding="utf-8")
    project.change(data={"own": {"mine": {"table": "list.csv"}}}, methods=["kdpl", "coop"])
    said = all_stages(project)
    assert "4 classes, " in said["prepare-crops"]
    assert "CoOp" in said["train-student"]
    assert measures(metrics()) == {"accuracy"}


def test_a_vocabulary_in_place_of_class_names(project: Project) -> None:
    words = [f"thing {letter}" for letter in "abcdefgh"]
    Path("words.txt").write_text("\n".join([*words, "Thing A"]))
    project.change(
        data={"own": {"mine": {"images": "photos", "test": "labelled"}}, "vocabulary": "words.txt"},
        train={"likeliest": 3},
    )
    said = all_stages(project)
    assert "4 classes, learned by 8 names" in said["prepare-crops"]
    about = learned("kdpl", "prompts").about
    assert about["vocabulary"]["names"] == 8
    assert about["learned_classes"] == []
    arrays = learned("fdbpl", "classifier").arrays
    assert {"positive", "negative", "decision", "bridge.rows"} <= set(arrays)
    few = metrics()
    assert measures(few) == {"accuracy"}
    prompts = {m: few["methods"][m]["1"]["prompts"] for m in TRAINED if m in FREE}

    project.change(train={"likeliest": 8})
    all_stages(project)
    for method, digest in prompts.items():
        assert metrics()["methods"][method]["1"]["prompts"] != digest


def test_a_vocabulary_alone_is_what_there_is_to_tell_apart(project: Project) -> None:
    Path("words.txt").write_text("red\nblue\nsea\n")
    own = {"mine": {"images": "photos"}}
    project.change(data={"own": own, "vocabulary": "words.txt"}, methods=["kdpl"])
    all_stages(project)
    classifier = learned("kdpl", "classifier")
    assert classifier.about["class_names"] == ["red", "blue", "sea"]
    assert np.isfinite(classifier.arrays["decision"]).all()
    project.change(data={"vocabulary": None})
    assert "names beside the images of own.mine" in project.fails("prepare-crops", "mine")


def test_class_agnostic_training_is_evaluated_base_to_new(project: Project) -> None:
    for part in ("train", "test"):
        for label, name in enumerate(("ant", "bee", "cat", "dog")):
            draw_image(Path("folders") / part / name / "0.png", 10 * label + len(part))
    Path("words.txt").write_text("red\nblue\nsea\nforest\n")
    project.change(
        datasets=["mine"],
        protocols=["base-to-new"],
        data={"own": {"mine": {"folder": "folders"}}, "vocabulary": "words.txt"},
        methods=["zero_shot", "linear_probe", "coop", "kdpl", "fdbpl"],
        train={"likeliest": 2},
    )
    said = all_stages(project)
    assert "4 classes (2 learned under base-to-new), learned by 4 names" in said["prepare-crops"]
    found = metrics("base-to-new")
    assert list(found["methods"]) == ["zero_shot", "kdpl", "fdbpl"]
    comparison = json.loads(WORK.comparison("json").read_text())
    assert list(comparison["methods"]) == ["zero_shot", "kdpl", "fdbpl"]
    record = json.loads(WORK.ood("json").read_text())
    assert list(record["methods"]) == ["zero_shot", "kdpl", "fdbpl"]


def test_names_too_long_for_the_tower_are_named_with_their_tokens(project: Project) -> None:
    long = ["so " * 30 + word for word in ("bridge", "tower")]
    Path("names.txt").write_text("\n".join([*NAMES, *long]))
    assert project("prepare-crops", "mine").exit_code == 0
    said = project.fails("cache-teacher", "mine")
    assert f"class name {long[0]!r} makes a prompt of 38 tokens, wanted at most 32" in said
    assert f"1 more is too long: {long[1]!r} (38)." in said


def test_one_picture_leaves_nothing_to_evaluate(project: Project) -> None:
    for path in sorted(Path("photos").iterdir())[1:]:
        path.unlink()
    project.change(methods=["kdpl", "zero_shot"])
    said = all_stages(project)
    assert "nothing to evaluate" in said["evaluate"]
    assert "nothing measured: mine" in said["compare"]
    assert WORK.comparison("png").is_file()
    assert WORK.learned("mine", "all-classes", "kdpl", 1, "classifier").is_file()
