"""The page of prompts in both towers, from workspaces of random vectors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from workspaces import evaluated_workspace, workspace_params

from fdbpl.stages.summary import read_summary
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies.measures import Measures
from studies.photographs import both_towers, late
from studies.photographs.both_towers import every_class, evidence, layers, write_both_towers
from studies.photographs.parts import DATASETS
from studies.photographs.sections import Run
from studies.records import compared_measures

EVERY_CLASS = ["all-classes", "transfer", "transductive"]
METHODS = ["zero_shot", "coop", "template_bridge", "fdbpl"]
CELLS = {
    name: {"base": 50.0, "new": 40.0, "joint": {"base": 30.0, "new": 20.0}} for name in DATASETS
}
STUDENTS = {
    "tower": {"image_size": 64, "patch_size": 16, "layers": 6, "width": 192},
    "teacher": CELLS,
    "students": {
        "told well": {"vit": CELLS, "efficientnet": CELLS, "cosine": dict.fromkeys(DATASETS, 0.5)}
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Run]:
    root, found = tmp_path_factory.mktemp("both"), {}
    for name in ("both_towers", "both_towers_every_class", "late", "bridge_vit"):
        protocols = EVERY_CLASS if name.endswith("every_class") else ["base-to-new"]
        changes = {"protocols": protocols, "methods": METHODS, "source": "birds"}
        params = workspace_params(root / name, ["birds", "fish"], **changes)
        found[name] = Run(params, evaluated_workspace(root / name, params))
    return found


def of_run(run: Run, **names: str) -> tuple[Any, Measures]:
    """Return a run's record and its measures, with methods that stand for others, too."""
    record = read_summary(run.work.comparison, "")
    parts = [record["methods"], record.get("transductive", {})]
    parts += [record[one]["methods"] for one in ("all_classes", "transfer") if one in record]
    for methods in parts:
        methods |= {name: methods[other] for name, other in names.items() if other in methods}
    return record, compared_measures(record)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, float]:
    """What bridges explain, in the place of what random vectors would."""
    found = {"base": 12.5, "new": 2.5}
    monkeypatch.setattr(both_towers, "explained", lambda *_: found)
    return found


def test_the_json_is_what_the_stages_and_the_students_gave(
    runs: Mapping[str, Run], told: Mapping[str, float], tmp_path: Path
) -> None:
    written = write_both_towers(runs, STUDENTS, "commit abc123", tmp_path)
    assert [path.name for path in written] == ["both_towers.md", "both_towers.json"]
    found = json.loads((tmp_path / "both_towers.json").read_text(encoding="utf-8"))
    wanted = {name: read_summary(run.work.comparison, "") for name, run in runs.items()}
    wanted["bridge_vit"]["explained"] = dict.fromkeys(["birds", "fish"], told)
    wanted["students"] = STUDENTS
    assert found == {name: {**one, "measured": "commit abc123"} for name, one in wanted.items()}
    text = (tmp_path / "both_towers.md").read_text(encoding="utf-8")
    titles = (
        *("from evidence alone", "Every class learned", "At which layers"),
        *("Why the bridge does not help", "## Students"),
    )
    heads = [text.index(one) for one in titles]
    assert heads == sorted(heads)
    assert text.count("Measured at commit abc123.") == len(titles)
    assert str(tmp_path.parents[1]) not in text + json.dumps(found)


def test_what_is_not_run_again_stays_with_where_it_was_measured(
    runs: Mapping[str, Run], tmp_path: Path
) -> None:
    write_both_towers(runs, STUDENTS, "commit old", tmp_path)
    before = (tmp_path / "both_towers.md").read_text(encoding="utf-8")
    kept = tmp_path / "both_towers.json"
    records = json.loads(kept.read_text(encoding="utf-8"))
    records["late"]["made_with"]["seeds"] = [9]  # which is measured anew
    kept.write_text(json.dumps(records), encoding="utf-8")
    write_both_towers({"late": runs["late"]}, None, "commit new", tmp_path)
    after = (tmp_path / "both_towers.md").read_text(encoding="utf-8")
    old, new = (f"## At which layers\n\nMeasured at commit {one}" for one in ("old", "new"))
    assert old in before
    assert after == before.replace(old, new)


def test_without_runs_the_students_are_told(tmp_path: Path) -> None:
    write_both_towers({}, STUDENTS, "commit abc123", tmp_path)
    text = (tmp_path / "both_towers.md").read_text(encoding="utf-8")
    assert "64 pixels, patches of 16, 6 layers of width 192" in text
    assert "evidence" not in text


def test_a_run_that_was_not_compared_names_its_command(
    runs: Mapping[str, Run], tmp_path: Path
) -> None:
    empty = {"late": Run(runs["late"].params, Workspace(tmp_path))}
    with pytest.raises(UserError, match=r"nothing was compared\. Run fdbpl compare first"):
        write_both_towers(empty, STUDENTS, "commit abc123", tmp_path)


def test_every_method_is_compared_with_text_prompts_and_none(runs: Mapping[str, Run]) -> None:
    record, measures = of_run(runs["both_towers"], ivlp="coop")
    said = "\n".join(evidence(record))
    gap = measures.difference(("joint H", "ivlp"), ("joint H", "zero_shot"))
    assert "IVLP against zero-shot: " in said
    assert "template + bridge against zero-shot: " in said
    assert f"in joint H {gap}" in said
    assert "IVLP against CoOp: is not distinguishable from it in H +0.00" in said


def test_every_protocol_that_learns_every_class_is_told(runs: Mapping[str, Run]) -> None:
    record, measures = of_run(runs["both_towers_every_class"], promptkd="fdbpl", ivlp="coop")
    said = "\n".join(every_class(record))
    gap = measures.difference(("cross-dataset", "ivlp"), ("cross-dataset", "zero_shot"))
    learned, rest = said.split("**Transfer from birds:**")
    carried, seen = rest.split("**Transductive:**")
    assert "IVLP against zero-shot: " in learned
    assert "at 2 shots" in learned
    assert f"in cross-dataset {gap}" in carried
    assert "PromptKD against zero-shot: " in seen
    assert "Transfer, by target" in seen


def test_every_choice_of_layers_is_compared(runs: Mapping[str, Run]) -> None:
    names = {one.__name__: "fdbpl" for one in late.LATE}
    record, measures = of_run(runs["late"], promptsrc="coop", **names)
    said = "\n".join(layers(record))
    gap = measures.difference(("joint H", "fdbpl"), ("joint H", "coop"))
    for one in late.LATE:
        (line,) = [each for each in said.splitlines() if f"{one.__name__} against P" in each]
        assert f"in joint H {gap}" in line


@pytest.mark.parametrize("method", late.LATE)
def test_tokens_enter_where_a_method_says(method: Any) -> None:
    found = method("mine", "mine")
    assert found.image_layer == {"2": 4, "3": 3, "4": 2}.get(method.__name__[-1], 0)
    assert found.with_options({"text_depth": 1}).image_layer == found.image_layer
