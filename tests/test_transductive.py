"""The transductive protocol: images of all classes are learned from, no label is, halves tested."""

import json
from pathlib import Path

import numpy as np
import pytest
from workspaces import evaluated_workspace, run_of, workspace_params

from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.evaluation.accuracy import base_to_new
from fdbpl.regions.plan import Plan
from fdbpl.stages.caches import open_caches
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.workspace import Workspace

ALONE = ["base-to-new", "transductive"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("made")
    return evaluated_workspace(root, workspace_params(root, ["birds", "ships"], protocols=ALONE))


def test_every_class_is_learned_from_and_its_name_known(work: Workspace) -> None:
    params = workspace_params(work.root, ["birds", "ships"], protocols=ALONE)
    plan = Plan.load(work.plan("birds"))
    base, every = tasks_of(params, plan)
    assert every.folder == "transductive"
    assert set(base.labels) < set(every.labels) == {0, 1, 2, 3}
    for seed, rows in every.picks.items():
        assert {int(plan.images["label"][row]) for row in rows} == {0, 1, 2, 3}
        assert set(base.picks[seed]) < set(rows)


def test_a_cell_is_what_the_saved_classifier_does_on_each_half(work: Workspace) -> None:
    params = workspace_params(work.root, ["birds", "ships"], protocols=ALONE)
    plan = Plan.load(work.plan("birds"))
    features = open_caches(params, plan, work)["student"].features("test")
    labels = plan.images["label"][plan.test]
    path = work.learned("birds", "transductive", "fdbpl", 1, "classifier")
    kept = Artifact.load(path, "classifier")
    wanted = base_to_new(features, labels, decision_of(kept), (0, 1), (2, 3))
    run = run_of(work, "birds", "transductive")
    assert run["methods"]["fdbpl"]["1"]["measures"] == wanted
    assert run["classes"] == {"base": 2, "new": 2}


def test_methods_that_read_labels_take_no_part(work: Workspace) -> None:
    found = {name: run_of(work, "birds", name) for name in ALONE}
    assert found["transductive"]["left_out"] == ["coop"]
    assert "coop" in found["base-to-new"]["methods"]
    params = workspace_params(work.root, ["birds", "ships"], protocols=ALONE)
    learned = [
        [method.name for method in task.methods(params)]
        for task in tasks_of(params, Plan.load(work.plan("birds")))
    ]
    assert learned == [["zero_shot", "coop", "fdbpl"], ["zero_shot", "fdbpl"]]


def test_its_table_stands_apart_and_says_what_was_seen(work: Workspace) -> None:
    compared = json.loads(work.comparison("json").read_text())
    assert set(compared["transductive"]) == {"zero_shot", "fdbpl"}
    assert set(compared["methods"]) == {"zero_shot", "coop", "fdbpl"}
    of_seeds = compared["transductive"]["fdbpl"]["datasets"]["ships"]["seeds"]
    assert {seed: one["new"] for seed, one in of_seeds.items()} == {
        seed: one["measures"]["new"]
        for seed, one in run_of(work, "ships", "transductive")["methods"]["fdbpl"].items()
    }
    text = work.comparison("md").read_text()
    assert text.count("Transductive: unlabelled training images of all classes") == 1


def test_what_all_classes_learned_is_taken_where_it_is_wanted_too(tmp_path: Path) -> None:
    wanted = [*ALONE, "all-classes"]
    params = workspace_params(tmp_path, ["birds"], protocols=wanted)
    both = evaluated_workspace(tmp_path, params)
    folders = {path.name for path in both.prompts_of("birds").iterdir()}
    assert folders == {"base-to-new", "all-classes"}
    run = run_of(both, "birds", "transductive")
    assert run["left_out"] == ["coop"]
    assert np.isfinite(run["methods"]["fdbpl"]["1"]["measures"]["joint"]["h"])
