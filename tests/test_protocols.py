"""Protocols over one set of stages: on tiny folders, with random vectors for models."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workspaces import carry, draw, evaluated_workspace, prepare, run_of, train, workspace_params

from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.classify.decision import Decision
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.registry import find_method
from fdbpl.protocols.all_classes import accuracy_over_all
from fdbpl.protocols.protocol import Classes, Protocol
from fdbpl.protocols.registry import PROTOCOLS
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.caches import known_classes, open_caches
from fdbpl.stages.evaluate import measure
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.tracking.records import read_records

DATASETS = ["birds", "cars", "birds-inked", "ships"]
ALL = ["base-to-new", "all-classes", "transfer"]


def params_of(root: Path, **changes: Any) -> Params:
    usual = {"protocols": ALL, "shifted": ["birds-inked"], "shots": [1, 2]}
    return workspace_params(root, DATASETS, **{**usual, **changes})


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return params_of(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    return evaluated_workspace(root, params_of(root)).root


@pytest.fixture
def work(tmp_path: Path, made: Path) -> Workspace:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def compared(work: Workspace) -> dict[str, Any]:
    return json.loads(work.comparison("json").read_text())


def test_every_dataset_is_in_its_protocols_with_its_shots(work: Workspace) -> None:
    found = {}
    for dataset in DATASETS:
        record = json.loads(work.metrics(dataset).read_text())["protocols"]
        found[dataset] = {name: list(runs) for name, runs in record.items()}
    learned = {"base-to-new": ["2"], "all-classes": ["1", "2"], "transfer": ["2"]}
    assert found == {**dict.fromkeys(DATASETS, learned), "birds-inked": {"transfer": ["2"]}}
    assert {name: run_of(work, name, "transfer")["kind"] for name in DATASETS} == {
        "birds": "own", "cars": "cross-dataset", "birds-inked": "shifted", "ships": "cross-dataset"
    }  # fmt: skip


def test_what_protocols_share_is_learned_once_and_shifted_pictures_never(work: Workspace) -> None:
    for dataset, tasks in (("birds", 3), ("cars", 3), ("birds-inked", 0)):
        found = {path.name for path in work.prompts_of(dataset).iterdir()}
        assert found == set(["all-classes-1", "all-classes-2", "base-to-new"][:tasks])
    shared = run_of(work, "birds", "all-classes")["methods"]
    assert run_of(work, "birds", "transfer")["methods"] == shared


def test_every_cell_of_a_transfer_is_the_plain_accuracy_over_all_classes(
    params: Params, work: Workspace
) -> None:
    for dataset in DATASETS:
        plan = Plan.load(work.plan(dataset))
        caches = open_caches(params, plan, work)
        features = caches["student"].features("test")
        labels = plan.images["label"][plan.test]
        assert set(labels.tolist()) == {0, 1, 2, 3}
        for method, seed in (("zero_shot", 1), ("coop", 1), ("coop", 2), ("fdbpl", 2)):
            decision = Decision(caches["student"].text("template"))
            path = work.learned("birds", "all-classes-2", method, seed, "prompts")
            if method != "zero_shot" and dataset == "birds":
                kept = work.learned("birds", "all-classes-2", method, seed, "classifier")
                decision = decision_of(Artifact.load(kept, "classifier"))
            elif method != "zero_shot":
                prompts = Artifact.load(path, "prompts")
                classes = known_classes(plan, caches, same_domain=dataset == "birds-inked")
                decision = carry(prompts, find_method(method), classes)
            cell = run_of(work, dataset, "transfer")["methods"][method][str(seed)]
            assert cell["measures"] == {"accuracy": accuracy(features, labels, decision, range(4))}
            assert ("prompts" in cell) == (method != "zero_shot")


def test_the_comparison_joins_the_datasets_of_each_protocol(work: Workspace) -> None:
    found = compared(work)
    for method in ("zero_shot", "coop", "fdbpl"):
        assert list(found["methods"][method]["datasets"]) == ["birds", "cars", "ships"]
        moved = found["transfer"]["methods"][method]
        for seed, accuracies in moved["seeds"].items():
            assert list(accuracies) == DATASETS
            for name, value in accuracies.items():
                cell = run_of(work, name, "transfer")["methods"][method][seed]
                assert cell["measures"]["accuracy"] == value
        few = found["all_classes"]["methods"][method]
        for shots in ("1", "2"):
            cells = [few["datasets"][name][shots] for name in ("birds", "cars", "ships")]
            assert few["avg"][shots] == pytest.approx(np.mean([one["mean"] for one in cells]))
            for one in cells:
                assert one["std"] == pytest.approx(np.std(list(one["seeds"].values()), ddof=1))
    text = work.comparison("md").read_text()
    for head in (
        "Averages over 3 datasets (birds, cars, ships)",
        "| average of 3 ",
        "| birds, 28 ",
        "Learned on all classes of birds",
        "shifted, average of 1",
    ):
        assert head in text


def test_a_dataset_does_not_depend_on_the_others(tmp_path: Path, work: Workspace) -> None:
    before = work.metrics("ships").read_bytes()
    fewer = workspace_params(tmp_path, ["birds", "ships"], protocols=ALL, shots=[1, 2])
    measure(fewer, "ships", work, carry)
    assert work.metrics("ships").read_bytes() == before


def test_adding_protocols_leaves_what_base_to_new_measures_as_it_was(
    tmp_path: Path, work: Workspace
) -> None:
    alone = evaluated_workspace(tmp_path / "a", params_of(tmp_path / "a", protocols=ALL[:1]))
    fields = ("classes", "test_images", "methods")
    for dataset in ("birds", "cars", "ships"):
        found, other = (run_of(place, dataset) for place in (work, alone))
        for method in ("zero_shot",):  # what is learned of random vectors is not the same
            assert found["methods"][method] == other["methods"][method]
        assert [found[one] for one in fields[:2]] == [other[one] for one in fields[:2]]
        few, many = (Plan.load(place.plan(dataset)) for place in (alone, work))
        for seed, rows in few.picks((0, 1), 2).items():
            assert [few.paths[row] for row in rows] == [
                many.paths[row] for row in many.picks((0, 1), 2)[seed]
            ]


def test_a_curve_is_learned_from_one_cache_of_the_most_shots(tmp_path: Path) -> None:
    folders = {}
    for shots in (3, [1, 2, 3]):
        root = tmp_path / str(shots)
        params = params_of(root, protocols=["all-classes"], shots=shots, shifted=[])
        draw(params, "birds")
        work = Workspace(root)
        prepare(params, "birds", work)
        plan = Plan.load(work.plan("birds"))
        folders[str(shots)] = {p.name: p.read_bytes() for p in work.plan("birds").iterdir()}
        tasks = tasks_of(params, plan)
    assert folders["3"] == folders["[1, 2, 3]"]
    assert [task.folder for task in tasks] == [f"all-classes-{shots}" for shots in (1, 2, 3)]
    for few, more in pairwise(tasks):
        for seed in (1, 2):
            assert set(few.picks[seed]) < set(more.picks[seed])


def test_a_protocol_is_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other class is learned, from each number of shots; nothing else has to know of it."""
    mine = Protocol(
        name="every-other",
        title="Every other class",
        classes=lambda labels, names: Classes(labels[::2], {"all": names}),
        measure=accuracy_over_all,
        learns_every_count=True,
    )
    monkeypatch.setitem(PROTOCOLS, mine.name, mine)
    params = params_of(tmp_path, protocols=["every-other"])
    work = evaluated_workspace(tmp_path, params)
    first, last = tasks_of(params, Plan.load(work.plan("cars")))
    assert (first.labels, last.names) == ((0, 2), ("cars a", "cars c"))
    assert {path.name for path in work.prompts_of("cars").iterdir()} == {first.folder, last.folder}
    found = compared(work)["every-other"]["2"]["coop"]
    cells = run_of(work, "cars", "every-other")["methods"]["coop"]
    mean = np.mean([cell["measures"]["accuracy"] for cell in cells.values()])
    assert found["datasets"]["cars"] == {"accuracy": pytest.approx(mean)}
    assert "Every other class, 1 shots" in work.comparison("md").read_text()
    records = read_records(params, work)
    assert (records.notes, len(records.seeds)) == ((), 3 * 3 * 2 * 2)
    run_stage("ood", params, work, None)


def test_nothing_is_learned_where_nothing_is_to_be_and_no_torch_is_loaded(tmp_path: Path) -> None:
    params = params_of(tmp_path)
    path = tmp_path / "params.json"
    path.write_text(params.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from fdbpl.settings.params import *;"
        "from fdbpl.stages import run_stage; from fdbpl.system.workspace import Workspace;"
        f"params, work = Params.model_validate_json(open({str(path)!r}).read()), Workspace("
        f"Path({str(tmp_path)!r}));"
        "print(run_stage('train_student', params, work, 'birds-inked'));"
        "import fdbpl.stages.prepare_crops, fdbpl.stages.evaluate, fdbpl.stages.compare;"
        "sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "birds-inked: nothing is learned here" in done.stdout
    assert list((tmp_path / "prompts" / "birds-inked").iterdir()) == []


def test_plans_of_tests_alone_do_not_depend_on_what_is_learned(tmp_path: Path) -> None:
    params, work = params_of(tmp_path), Workspace(tmp_path)
    draw(params, "birds-inked")
    assert run_stage("prepare_crops", params, work, "birds-inked") == [
        "birds-inked: 4 classes, 48 test images"
    ]
    before = Plan.load(work.plan("birds-inked")).digest
    more = params_of(tmp_path, shots=1, seeds=[7], regions={"seed": 3})
    run_stage("prepare_crops", more, work, "birds-inked")
    assert Plan.load(work.plan("birds-inked")).digest == before


def test_classifiers_of_the_learned_classes_alone_are_carried_nowhere(tmp_path: Path) -> None:
    params = params_of(tmp_path, methods=["linear_probe", "gda"])
    work = evaluated_workspace(tmp_path, params)
    for dataset in DATASETS:
        assert run_of(work, dataset, "transfer")["left_out"] == ["linear_probe", "gda"]
    assert "transfer" not in compared(work)
    assert list(compared(work)["all_classes"]["methods"]) == ["linear_probe", "gda"]
    assert "Learned on all classes" not in work.comparison("md").read_text()
    records = read_records(params, work)
    assert (records.notes, records.transfers) == ((), ())


def test_what_is_missing_names_the_stage_to_run(tmp_path: Path) -> None:
    params, work = params_of(tmp_path, protocols=["transfer"]), Workspace(tmp_path)

    def missing() -> str:
        with pytest.raises(UserError) as error:
            measure(params, "cars", work, carry)
        return str(error.value)

    for dataset in ("cars", "birds"):
        draw(params, dataset)
        assert f"plans/{dataset}/plan.json: no such file. Run fdbpl prepare-crops" in missing()
        prepare(params, dataset, work)
    assert missing().endswith("Run fdbpl train-student birds first.")
    train(params, "birds", work)
    measure(params, "cars", work, carry)


def test_prompts_of_another_teacher_are_carried_nowhere(params: Params, work: Workspace) -> None:
    path = work.learned("birds", "all-classes-2", "fdbpl", 1, "prompts")
    prompts = Artifact.load(path, "prompts")
    made_with = prompts.about["made_with"]
    teacher = {**made_with["teacher"], "weights": "tag other"}
    about = {**prompts.about, "made_with": {**made_with, "teacher": teacher}}
    Artifact(prompts.arrays, about).save(path)
    with pytest.raises(UserError, match=r'teacher.weights "tag other", wanted "tiny".*train-st'):
        measure(params, "ships", work, carry)


@pytest.mark.parametrize("damage", ["[", "{}", '{"dataset": 1}'])
def test_comparing_names_a_damaged_record(params: Params, work: Workspace, damage: str) -> None:
    work.metrics("cars").write_text(damage)
    with pytest.raises(UserError, match=r"cars\.json: damaged .* Run fdbpl evaluate cars again"):
        run_stage("compare", params, work, None)
