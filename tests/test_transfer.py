"""The transfer from one dataset to others: on tiny folders, with random vectors for models."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_planned import changed
from workspaces import carry, draw, evaluated_workspace, prepare, train, workspace_params

from fdbpl.cache import open_cache
from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Decision
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.registry import METHODS
from fdbpl.regions.plan import Plan
from fdbpl.reporting.transfer import transfer_tables
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.caches import known_classes
from fdbpl.stages.transfer import measure_transfer
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.tracking.records import read_records

TO = ["cars", "birds-inked", "ships"]


def params_to(root: Path, targets: list[str], **changes: Any) -> Params:
    shifted = [name for name in targets if name == "birds-inked"]
    transfer = {"source": "birds", "targets": targets, "shifted": shifted}
    return workspace_params(root, ["birds", "cars"], transfer=transfer, **changes)


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return params_to(tmp_path, TO)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    return evaluated_workspace(root, params_to(root, TO)).root


@pytest.fixture
def work(tmp_path: Path, made: Path) -> Workspace:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def measured(params: Params, work: Workspace) -> dict[str, Any]:
    assert params.transfer
    measure_transfer(params, params.transfer, work, carry)
    return json.loads(work.transferred.read_text())


def test_the_layout_and_the_kinds(work: Workspace) -> None:
    record = json.loads(work.transferred.read_text())
    assert record["source"] == "birds"
    assert {name: about["kind"] for name, about in record["targets"].items()} == {
        "cars": "cross-dataset", "birds-inked": "shifted", "ships": "cross-dataset"
    }  # fmt: skip
    assert list(record["methods"]) == ["zero_shot", "coop", "fdbpl"]
    for method in record["methods"].values():
        assert set(method) - {"prompts"} == {"seeds", "targets", "avg"}
        assert list(method["seeds"]) == ["1", "2"]
        for accuracies in method["seeds"].values():
            assert list(accuracies) == ["birds", *TO]
        assert method["avg"]["cross-dataset"] == pytest.approx(
            np.mean([method["seeds"][seed][name] for seed in "12" for name in ("cars", "ships")])
        )
        assert method["targets"]["ships"]["std"] == pytest.approx(
            np.std([method["seeds"][seed]["ships"] for seed in "12"], ddof=1)
        )
    assert "prompts" not in record["methods"]["zero_shot"]


def test_every_cell_is_the_plain_accuracy_over_all_classes(work: Workspace) -> None:
    record = json.loads(work.transferred.read_text())
    places = dict(zip(["birds", *TO], [work.source, work, work.targets, work.targets], strict=True))
    for dataset, place in places.items():
        plan = Plan.load(place.plan(dataset))
        cache = open_cache(place.cache(dataset, "student"))
        features, labels = cache.features("test"), plan.images["label"][plan.test]
        assert set(labels.tolist()) == {0, 1, 2, 3}
        for method, seed in (("zero_shot", 1), ("coop", 1), ("coop", 2), ("fdbpl", 2)):
            decision = Decision(cache.text("template"))
            if method != "zero_shot":
                path = work.source.learned("birds", method, seed, "prompts")
                teacher = open_cache(place.cache(dataset, "teacher"))
                same_domain = dataset in ("birds", "birds-inked")
                known = known_classes(plan, teacher, cache, same_domain=same_domain)
                decision = carry(Artifact.load(path, "prompts"), METHODS[method], known)
            found = record["methods"][method]["seeds"][str(seed)][dataset]
            assert found == accuracy(features, labels, decision, range(4))


def test_the_source_is_learned_on_all_classes_and_by_all_shots(work: Workspace) -> None:
    plan, halves = Plan.load(work.source.plan("birds")), Plan.load(work.plan("birds"))
    assert (plan.base, plan.new) == ((0, 1, 2, 3), ())
    for seed, rows in halves.shots.items():
        both = {plan.paths[row] for row in plan.shots[seed]}
        assert {halves.paths[row] for row in rows} < both


def test_a_targets_row_does_not_depend_on_the_other_targets(
    tmp_path: Path, work: Workspace
) -> None:
    whole = json.loads(work.transferred.read_text())
    for targets in (["ships"], ["ships", "cars"], TO[::-1]):
        part = measured(params_to(tmp_path, targets), work)
        assert list(part["targets"]) == targets
        for method, result in part["methods"].items():
            for target in targets:
                assert result["targets"][target] == whole["methods"][method]["targets"][target]
            assert result["avg"]["source"] == whole["methods"][method]["avg"]["source"]


def test_the_same_again_gives_the_same_bytes(params: Params, work: Workspace) -> None:
    before = work.transferred.read_bytes()
    measured(params, work)
    assert work.transferred.read_bytes() == before


def test_what_base_to_new_has_is_not_made_again(work: Workspace) -> None:
    made = work.root / "transfer" / "targets"
    assert {path.name for path in (made / "plans").iterdir()} == {"birds-inked", "ships"}
    assert {path.name for path in (made / "caches").iterdir()} == {"birds-inked", "ships"}


def test_the_stages_plan_as_was_decided(tmp_path: Path, params: Params) -> None:
    for dataset in ("birds", "birds-inked", "ships"):
        draw(params, dataset)
    work = Workspace(tmp_path)
    said = run_stage("prepare_transfer", params, work, None)
    assert said == [
        "birds: 4 classes, 9 training images for 2 seeds, 18 regions, 28 test images",
        "birds-inked: 4 classes, 48 test images",
        "ships: 4 classes, 28 test images",
    ]
    before = Plan.load(work.targets.plan("ships")).digest
    more = params_to(tmp_path, TO, shots=1, seeds=[7], regions={"seed": 3})
    run_stage("prepare_transfer", more, work, None)
    assert Plan.load(work.targets.plan("ships")).digest == before


def test_no_transfer_is_no_error(tmp_path: Path) -> None:
    params, work = workspace_params(tmp_path, ["birds"]), Workspace(tmp_path)
    for stage in ("prepare_transfer", "cache_transfer", "train_transfer", "transfer"):
        assert run_stage(stage, params, work, None) == [
            "transfer: null in params.yaml, nothing to do"
        ]
    assert json.loads(work.transferred.read_text())["methods"] == {}
    for part in ("source/plans", "source/caches", "source/prompts", "targets/plans"):
        assert list((tmp_path / "transfer" / part).iterdir()) == []


def test_classifiers_of_base_classes_alone_transfer_nothing_and_are_compared_all_the_same(
    tmp_path: Path,
) -> None:
    params = params_to(tmp_path, ["cars"], methods=["linear_probe", "gda"])
    work = evaluated_workspace(tmp_path, params)
    assert json.loads(work.transferred.read_text())["methods"] == {}
    table = work.comparison("md").read_text()
    assert "| linear probe" in table
    assert "Learned on all classes" not in table
    records = read_records(params, work)
    assert (records.notes, records.transfers) == ((), ())
    assert [one.method for one in records.summaries] == ["linear_probe", "gda"]


def test_what_is_missing_names_the_stage_to_run(tmp_path: Path, params: Params) -> None:
    work = Workspace(tmp_path)
    for dataset in ("birds", "cars", "birds-inked", "ships"):
        draw(params, dataset)

    def missing(stage: str) -> str:
        with pytest.raises(UserError) as error:
            run_stage(stage, params, work, None)
        return str(error.value)

    assert missing("cache_transfer").endswith("Run fdbpl prepare-transfer first.")
    assert missing("train_transfer").endswith("Run fdbpl prepare-transfer first.")
    assert missing("transfer").endswith("Run fdbpl prepare-transfer first.")
    run_stage("prepare_transfer", params, work, None)
    assert missing("train_transfer").endswith("Run fdbpl cache-transfer first.")
    assert missing("transfer").endswith("Run fdbpl cache-transfer first.")
    prepare(params, "birds", work.source)
    for target in ("birds-inked", "ships"):
        prepare(params, target, work.targets)
    assert "plans/cars/plan.json: no such file. Run fdbpl prepare-crops cars" in missing("transfer")
    prepare(params, "cars", work)
    assert missing("transfer").endswith("Run fdbpl train-transfer first.")


def test_prompts_of_another_plan_are_refused(tmp_path: Path, work: Workspace) -> None:
    more = params_to(tmp_path, TO, shots=1)
    prepare(more, "birds", work.source)
    prepare(more, "cars", work)
    with pytest.raises(UserError, match=r"made with shots 2, wanted 1\. Run fdbpl train-transfer"):
        measured(more, work)
    train(more, "birds", work.source)
    measured(more, work)


def test_prompts_of_another_teacher_are_refused(params: Params, work: Workspace) -> None:
    path = work.source.learned("birds", "fdbpl", 1, "prompts")
    prompts = Artifact.load(path, "prompts")
    made_with = prompts.about["made_with"]
    teacher = {**made_with["teacher"], "weights": "tag other"}
    about = {**prompts.about, "made_with": {**made_with, "teacher": teacher}}
    Artifact(prompts.arrays, about).save(path)
    with pytest.raises(UserError, match=r'teacher.weights "tag other", wanted "tiny".*train-tr'):
        measured(params, work)


def test_the_tables(work: Workspace) -> None:
    record = json.loads(work.transferred.read_text())
    lines = transfer_tables(record, ["zero_shot", "coop"]).splitlines()
    assert lines[0] == "Learned on all classes of birds, accuracy over all classes in per cent:"
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "method", "birds", "cross-dataset, average of 2", "shifted, average of 1"
    ]  # fmt: skip
    average = record["methods"]["coop"]["avg"]
    assert [cell.strip() for cell in lines[5].split("|")[1:-1]] == [
        "CoOp", *(f"{average[name]:.2f}" for name in ("source", "cross-dataset", "shifted"))
    ]  # fmt: skip
    first = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert [name for name in first if "--" not in name] == [
        *("method", "zero-shot", "CoOp"),
        *("cross-dataset", "zero-shot", "CoOp"),
        *("shifted", "zero-shot", "CoOp"),
    ]
    assert (
        work.comparison("md")
        .read_text()
        .rstrip()
        .endswith(transfer_tables(record, ["zero_shot", "coop", "fdbpl"]))
    )


def test_without_shifted_targets_there_is_no_such_column(tmp_path: Path, work: Workspace) -> None:
    record = measured(params_to(tmp_path, ["cars"]), work)
    assert record["methods"]["coop"]["avg"]["shifted"] is None
    assert "shifted" not in transfer_tables(record, ["coop"])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"transfer": {"source": "cars", "targets": ["birds"], "shifted": []}}, "transfer.source"),
        ({"transfer": {"targets": ["cars"], "shifted": []}}, "transfer.targets"),
        ({"transfer": {"shifted": ["birds-inked", "cars"]}}, "transfer.shifted"),
        ({"seeds": [1]}, "seeds"),  # its averages are over two
    ],
)
def test_a_record_of_other_parameters_is_not_compared(
    params: Params, work: Workspace, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(UserError, match=rf"made with {key} .* Run fdbpl transfer again"):
        run_stage("compare", changed(params, **changes), work, None)
    fewer = {"source": "birds", "targets": TO[::-1]}
    run_stage("compare", changed(params, methods=["coop"], transfer=fewer), work, None)


def test_comparing_names_a_damaged_record(params: Params, work: Workspace) -> None:
    work.transferred.write_text("[")
    with pytest.raises(UserError, match=r"transfer\.json: damaged .* Run fdbpl transfer again"):
        run_stage("compare", params, work, None)
    work.transferred.unlink()
    said = run_stage("compare", params, work, None)
    assert "Learned on" not in "".join(said)


def test_planning_a_transfer_and_measuring_untrained_methods_need_no_torch() -> None:
    code = (
        "import sys, fdbpl.stages.transfer, fdbpl.stages.prepare_transfer, "
        "fdbpl.stages.cache_transfer, fdbpl.stages.train_transfer; "
        "sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
