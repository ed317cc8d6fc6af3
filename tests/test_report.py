"""The report of a run: its numbers are those of the comparison, its mistakes the surest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import draw_folder
from pages import Page, sound
from workspaces import carry, evaluated_workspace, run_of, workspace_params

from fdbpl.classify.artifact import decision_of
from fdbpl.cli import main
from fdbpl.evaluation.logits import log_softmax
from fdbpl.html.picture import MISSING
from fdbpl.regions.plan import Plan
from fdbpl.reporting.tables import number
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_caches
from fdbpl.stages.dataset_report import MISTAKES, dataset_report
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.learned import open_learned
from fdbpl.stages.report import report
from fdbpl.stages.tasks import task_of, wanted
from fdbpl.system.errors import UserError
from fdbpl.system.sealed import sealed_json, unsealed_json
from fdbpl.system.workspace import Workspace

DATASETS = ["pets", "ships"]


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    root = tmp_path_factory.mktemp("project")
    protocols = ["base-to-new", "all-classes", "transfer"]
    return workspace_params(root, DATASETS, protocols=protocols, shots=[1, 2])


@pytest.fixture(scope="module")
def work(params: Params) -> Workspace:
    return evaluated_workspace(Path(params.data.own["pets"].folder).parents[1], params)


@pytest.fixture(scope="module")
def page(params: Params, work: Workspace) -> Page:
    out = work.root / "report.html"
    said = report(params, work, out)
    assert said.startswith("2 datasets, ")
    return sound(out.read_bytes())


def test_the_page_says_every_number_of_the_comparison(page: Page, work: Workspace) -> None:
    comparison = json.loads(work.comparison("json").read_text())
    for result in comparison["methods"].values():
        average = result["avg"]
        for part in (average, average["joint"]):
            assert all(number(part[key]) in page.text for key in ("base", "new", "h"))
        for cell in result["datasets"].values():
            assert number(cell["h"]) in page.text
            assert number(cell["joint"]["h"]) in page.text
    for result in comparison["all_classes"]["methods"].values():
        assert all(number(value) in page.text for value in result["avg"].values())
    for result in comparison["transfer"]["methods"].values():
        assert number(result["avg"]["source"]) in page.text


@pytest.mark.parametrize("method", ["zero_shot", "coop", "fdbpl"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_classes_and_mistakes_are_those_of_the_classifier(
    params: Params, work: Workspace, dataset: str, method: str
) -> None:
    plan = Plan.load(work.plan(dataset))
    found = dataset_report(params, read_record(params, dataset, work), work, method, 2, carry)
    task = task_of(params, plan, wanted(params)[0], 2)
    decision = decision_of(open_learned("classifier", params, task, work, method, 2))
    features = open_caches(params, plan, work)[decision.sees].features("test")
    p = np.exp(log_softmax(decision.logits(features, plan.labels)))
    truth, taken = plan.images["label"][plan.test], p.argmax(axis=1)

    measured = run_of(work, dataset)["methods"][method]["2"]["measures"]
    assert found.measured["base"] == measured["base"]
    assert found.measured["joint H"] == measured["joint"]["h"]
    assert found.confusion is not None
    base = list(task.labels)
    right = found.confusion.counts[base, base].sum() / found.confusion.counts[base].sum()
    assert 100 * right == pytest.approx(measured["joint"]["base"])
    assert found.new == set(plan.labels) - set(base)

    wrong = sorted(np.flatnonzero(taken != truth), key=lambda row: -p[row].max())[:MISTAKES]
    assert [one.path for one in found.mistakes] == [plan.paths[plan.test[row]] for row in wrong]
    assert [one.probability for one in found.mistakes] == pytest.approx(p.max(axis=1)[wrong])
    assert [one.taken for one in found.mistakes] == [plan.class_names[taken[row]] for row in wrong]
    assert all(one.picture and one.example for one in found.mistakes)


def test_regions_and_curves_are_shown_where_there_are_some(params: Params, work: Workspace) -> None:
    record = read_record(params, "pets", work)
    ours = dataset_report(params, record, work, "fdbpl", 1, carry)
    assert [len(card.regions) for card in ours.regions] == [2, 2]
    history = json.loads(work.learned("pets", "base-to-new", "fdbpl", 1, "history").read_text())
    assert ours.curves["cross_entropy"][1] == history["terms"]["cross_entropy"]
    assert set(ours.curves["cross_entropy"]) == {1, 2}
    assert dataset_report(params, record, work, "zero_shot", 1, carry).curves == {}


def test_what_is_learned_elsewhere_is_shown_where_it_is_tested(tmp_path: Path) -> None:
    params = workspace_params(tmp_path, DATASETS, protocols=["transfer"])
    work = evaluated_workspace(tmp_path, params)
    found = dataset_report(params, read_record(params, "ships", work), work, "fdbpl", 1, carry)
    assert "learned on pets" in found.lines[0]
    assert found.confusion is not None
    accuracy = run_of(work, "ships", "transfer")["methods"]["fdbpl"]["1"]["measures"]["accuracy"]
    assert found.confusion.accuracy == pytest.approx(accuracy)
    assert (found.regions, found.curves, found.new) == ((), {}, ())


def test_odd_names_and_missing_pictures(tmp_path: Path) -> None:
    names = ["<i>a", 'b"&"', "it's", "{{d}}"]
    folder = draw_folder(tmp_path / "odd", dict.fromkeys(names, (3, 5)))
    own = {"pets": {"folder": str(folder)}}
    params = workspace_params(tmp_path, ["pets"], data={"own": own}, methods=["zero_shot", "coop"])
    work = evaluated_workspace_of(tmp_path, params)
    for path in (folder / "test" / names[0]).iterdir():
        path.unlink()
    out = tmp_path / "report.html"
    report(params, work, out)
    found = sound(out.read_bytes())
    assert all(name in found.text for name in names)
    assert MISSING in found.text
    assert "i" not in found.tags


def evaluated_workspace_of(root: Path, params: Params) -> Workspace:
    """As `evaluated_workspace`, of pictures that are drawn already."""
    import workspaces

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspaces, "draw", lambda *_: None)
        return evaluated_workspace(root, params)


def test_pictures_without_classes_agree_with_the_teacher(tmp_path: Path) -> None:
    draw_folder(tmp_path / "pictures", {"a": (9, 9)})
    (tmp_path / "names.txt").write_text("cat\ndog\nelk\n")
    own = {"mine": {"images": str(tmp_path / "pictures"), "names": str(tmp_path / "names.txt")}}
    params = workspace_params(
        tmp_path, ["mine"], data={"own": own}, protocols=["all-classes"], methods=["zero_shot"]
    )
    work = evaluated_workspace_of(tmp_path, params)
    found = dataset_report(params, read_record(params, "mine", work), work, "zero_shot", 1, carry)
    assert "agreement with the teacher" in found.lines[1]
    assert found.confusion is not None
    assert found.confusion.accuracy == pytest.approx(found.measured["agreement"])


def test_users_mistakes(params: Params, work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for change, says in (
        ({"method": "gda"}, "--method is 'gda', wanted one of params.yaml's: zero_shot, coop"),
        ({"seed": 7}, "--seed is 7, wanted one of params.yaml's: 1, 2"),
    ):
        given: Any = change
        with pytest.raises(UserError, match=says):
            report(params, work, work.root / "none.html", **given)
    assert not (work.root / "none.html").exists()
    monkeypatch.chdir(work.root)
    Path("params.yaml").write_text(params.model_dump_json())
    for options, says in (
        (["--out", "x.pdf"], "wanted a name that ends in .html"),
        (["--out", "x.html", "--run", "none"], "runs/none/metrics/datasets/pets.json"),
        (["--out", "x.html", "--pictures", "."], "--pictures is for a MODEL"),
        (["model", "--out", "x.html", "--seed", "1"], "--seed is for a run"),
        (["model", "--out", "x.html"], "model: no model of fdbpl"),
    ):
        result = CliRunner().invoke(main, ["report", *options])
        assert result.exit_code == 2, result.output
        assert says in result.stderr
        assert not Path("x.html").exists()


def test_a_history_of_other_prompts_is_refused(tmp_path: Path) -> None:
    params = workspace_params(tmp_path, ["pets"])
    work = evaluated_workspace(tmp_path, params)
    path = work.learned("pets", "base-to-new", "coop", 2, "history")
    history = unsealed_json(path.read_bytes())
    for damage, says in (
        (sealed_json({**history, "prompts": "x"}), "not of the prompts that were evaluated"),
        (sealed_json({**history, "seed": 1}), "of seed 1, wanted 2"),
        (b"{", "damaged"),
    ):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=says):
            report(params, work, tmp_path / "report.html", "coop")
    assert not (tmp_path / "report.html").exists()
