import json
from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from kinds import FITTED
from test_planned import changed
from workspaces import evaluated_workspace, run_of, train, workspace_params

from fdbpl.stages import run_stage
from fdbpl.system.files import canonical_json
from fdbpl.system.sealed import sealed_json
from fdbpl.system.workspace import Workspace
from fdbpl.tracking.contents import of_summary
from fdbpl.tracking.records import read_records

DATASETS = ["birds", "cars"]
PARAMS = workspace_params(Path(), DATASETS)  # records do not depend on where pictures lie
FOUR = [*DATASETS, "ships", "birds-inked"]
MOVED: dict[str, Any] = {"protocols": ["base-to-new", "transfer"], "shifted": ["birds-inked"]}
TRANSFERRED = workspace_params(Path(), FOUR, **MOVED)


@pytest.fixture
def transferred(tmp_path: Path) -> Workspace:
    return evaluated_workspace(tmp_path, workspace_params(tmp_path, FOUR, **MOVED))


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return evaluated_workspace(tmp_path, workspace_params(tmp_path, DATASETS))


def test_one_record_for_every_dataset_method_and_seed_and_one_for_every_method(
    work: Workspace,
) -> None:
    records = read_records(PARAMS, work)
    assert records.notes == ()
    assert [(r.dataset, r.method, r.seed) for r in records.seeds] == [
        (dataset, method, seed)
        for dataset in DATASETS
        for method in ("zero_shot", "coop", "fdbpl")
        for seed in (1, 2)
    ]
    assert [r.method for r in records.summaries] == ["zero_shot", "coop", "fdbpl"]
    keys = [r.key for r in (*records.seeds, *records.summaries)]
    assert len(set(keys)) == len(keys) == 15


def test_a_record_says_what_was_measured_and_from_what(work: Workspace) -> None:
    record = read_records(PARAMS, work).seeds[2]
    cell = run_of(work, "birds")["methods"]["coop"]["1"]
    found = cell["measures"]
    joint = {f"joint_{name}": value for name, value in found["joint"].items()}
    assert record.accuracies == {name: found[name] for name in ("base", "new", "h")} | joint
    assert record.digests["prompts"] == cell["prompts"]
    assert record.digests["plan"] == json.loads(work.metrics("birds").read_text())["plan"]
    assert record.setting == "base-to-new"
    assert record.params["student"] == "small"
    assert record.params["shots"] == 2
    assert record.params["train.epochs"] == 3
    assert len(record.terms["cross_entropy"]) == 3
    assert all(path.is_file() for path in record.files.values())


def test_keys_do_not_depend_on_the_place(work: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "elsewhere"
    other = evaluated_workspace(root, workspace_params(root, DATASETS))
    keys = [[one.key for one in read_records(PARAMS, place).seeds] for place in (work, other)]
    assert keys[0] == keys[1]


def test_retraining_one_dataset_changes_its_learned_records_and_the_summaries(
    work: Workspace,
) -> None:
    before = read_records(PARAMS, work)
    train(PARAMS, "birds", work, "again")
    run_stage("evaluate", PARAMS, work, "birds")
    between = read_records(PARAMS, work)
    assert (len(between.seeds), between.summaries) == (12, ())  # the comparison is older
    assert "is not what was evaluated" in between.notes[0]
    run_stage("compare", PARAMS, work, None)
    after = read_records(PARAMS, work)
    same = {r.key for r in before.seeds} & {r.key for r in after.seeds}
    changed = {(r.dataset, r.method) for r in after.seeds if r.key not in same}
    assert changed == {("birds", "coop"), ("birds", "fdbpl")}
    assert not {r.key for r in before.summaries} & {r.key for r in after.summaries}


def test_results_of_other_parameters_are_left_out_with_a_note(transferred: Workspace) -> None:
    other = changed(TRANSFERRED, train={"lr": 0.1})
    records = read_records(other, transferred)
    assert (records.seeds, records.summaries, records.transfers) == ((), (), ())
    assert records.notes[0] == (
        f"birds: not recorded. {transferred.metrics('birds')}: made with train.lr 0.002, wanted "
        "0.1. Run fdbpl evaluate birds again."
    )
    assert all("made with train.lr" in note for note in records.notes[:-1])


def test_outputs_that_do_not_belong_together_are_left_out_with_a_note(work: Workspace) -> None:
    train(PARAMS, "birds", work, "again")
    records = read_records(workspace_params(Path(), [*DATASETS, "boats"]), work)
    assert {r.dataset for r in records.seeds} == {"cars"}
    assert records.summaries == ()
    birds, boats, comparison = records.notes
    assert "birds: not recorded" in birds
    assert "not of the prompts that were evaluated" in birds
    assert "fdbpl evaluate boats" in boats
    assert comparison.startswith("comparison: not recorded")


def test_classifiers_of_base_classes_are_recorded_as_any_others(tmp_path: Path) -> None:
    params = workspace_params(tmp_path, ["birds"], methods=["zero_shot", *FITTED])
    records = read_records(params, evaluated_workspace(tmp_path, params))
    assert records.notes == ()
    summaries = {one.method: one for one in records.summaries}
    for method in FITTED:
        for measure in ("joint_h/birds", "avg/joint_base", "new_acc/birds"):
            assert measure in of_summary(summaries[method]).metrics


def test_a_transfer_is_a_record_for_every_kind_method_and_seed(transferred: Workspace) -> None:
    records = read_records(TRANSFERRED, transferred)
    assert records.notes == ()
    assert [(r.dataset, r.method, r.seed, r.setting) for r in records.transfers] == [
        ("birds", method, seed, setting)
        for method in ("zero_shot", "coop", "fdbpl")
        for seed in (1, 2)
        for setting in ("cross-dataset", "shifted")
    ]
    everything = (*records.seeds, *records.transfers, *records.summaries)
    assert len({r.key for r in everything}) == len(everything) == 21 + 12
    cross = records.transfers[4]
    cells = {name: run_of(transferred, name, "transfer")["methods"]["coop"]["1"] for name in FOUR}
    found = {name: cell["measures"]["accuracy"] for name, cell in cells.items()}
    assert cross.accuracies == {
        "source": found["birds"],
        "average": (found["cars"] + found["ships"]) / 2,
        "acc/cars": found["cars"],
        "acc/ships": found["ships"],
    }
    assert cross.digests["prompts"] == cells["ships"]["prompts"]
    assert len(cross.terms["cross_entropy"]) == 3
    assert all(path.is_file() for path in cross.files.values())
    assert cross.counts["train_images"] == 8  # two shots of four classes


def test_accuracies_older_than_their_prompts_are_left_out(transferred: Workspace) -> None:
    train(TRANSFERRED, "birds", transferred, "again")
    records = read_records(TRANSFERRED, transferred)
    assert (len(records.seeds), records.summaries, records.transfers) == (12, (), ())
    assert records.notes[0].startswith("birds: not recorded.")
    assert "not of the prompts that were evaluated" in records.notes[0]


def places_in(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to values of some JSON: of what stands below its keys, the first."""
    yield above
    keys = list(value) if isinstance(value, dict) else []
    for key in keys[: 1 if above else None]:
        yield from places_in(value[key], (*above, key))


@pytest.mark.parametrize("kind", ["metrics", "history", "comparison"])
def test_outputs_of_another_shape_are_left_out_with_a_note(
    transferred: Workspace, kind: str
) -> None:
    history = transferred.learned("birds", "base-to-new", "coop", 1, "history")
    path, name, remedy = {
        "metrics": (transferred.metrics("birds"), "birds", "fdbpl evaluate birds"),
        "history": (history, "birds", "fdbpl train-student birds"),
        "comparison": (transferred.comparison("json"), "comparison", "fdbpl compare"),
    }[kind]
    whole = json.loads(path.read_text())
    for keys in places_in(whole):
        for other in (None, ["text"]):
            changed = {"": deepcopy(whole)}
            *above, last = ("", *keys)
            reduce(getitem, above, changed)[last] = other
            spell = sealed_json if isinstance(changed[""], dict) else canonical_json
            path.write_bytes(spell(changed[""]))
            records = read_records(TRANSFERRED, transferred)  # whatever stands there, it ends
            assert {one.dataset for one in records.seeds} >= {"cars"}
    for other in ([], {}, {"methods": {"coop": []}}):
        path.write_text(json.dumps(other))
        notes = read_records(TRANSFERRED, transferred).notes
        note = next(one for one in notes if one.startswith(name))
        assert "of another shape" in note or "damaged (" in note
        assert f"Run {remedy} again." in note
