"""The page of photographs, from workspaces of random vectors; what it says of drawings' claims."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from result_records import LIFT, comparison, ood, transfer
from test_studies_results import parameters, part, said, written_to
from workspaces import evaluated_workspace, run_of, workspace_params

from fdbpl.stages import run_stage
from fdbpl.stages.summary import read_summary
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies import results
from studies.contrasts import FAILS, HOLDS, UNKNOWN, contrasts, verdicts
from studies.measures import Measures
from studies.photographs.confusions import mistakes
from studies.photographs.page import write_page
from studies.photographs.sections import Run
from studies.records import read_measures, read_photographs, transductive_measures

METHODS = ["zero_shot", "coop", "template_bridge", "fdbpl"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Run]:
    """Small runs of all names: birds and fish, and birds in ink."""
    root = tmp_path_factory.mktemp("photographs")
    drawn = {
        "evidence": (["birds", "fish", "birds-inked"], ["base-to-new", "transfer"], [2]),
        "development": (["cars"], ["base-to-new", "all-classes"], [2]),
        "caltech": (["fish", "fish-inked"], ["transfer"], [2]),
        "few_shot": (["birds", "fish"], ["all-classes"], [1, 2]),
        "transductive": (["birds", "fish"], ["transductive"], [2]),
    }
    found = {}
    for name, (datasets, protocols, shots) in drawn.items():
        shifted = [one for one in datasets if one.endswith("-inked")]
        changes = {"protocols": protocols, "shots": shots, "shifted": shifted, "methods": METHODS}
        params = workspace_params(root / name, datasets, **changes)
        found[name] = Run(params, evaluated_workspace(root / name, params))
    run_stage("ood", found["evidence"].params, found["evidence"].work, None)
    return found


@pytest.fixture(scope="module")
def docs(runs: Mapping[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    write_page(runs, "commit abc123", folder)
    return folder


def json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_json_is_what_the_stages_wrote(runs: Mapping[str, Run], docs: Path) -> None:
    found = json_of(docs / "photographs.json")
    wanted = {name: read_summary(run.work.comparison, "") for name, run in runs.items()}
    wanted["ood"] = read_summary(runs["evidence"].work.ood, "")
    assert list(found) == list(wanted)
    for name, record in wanted.items():
        assert {key: found[name][key] for key in record} == record
        assert found[name]["measured"] == "commit abc123"


def test_what_is_not_run_again_stays_with_where_it_was_measured(
    runs: Mapping[str, Run], docs: Path, tmp_path: Path
) -> None:
    kept = json_of(docs / "photographs.json")
    kept["caltech"]["made_with"]["seeds"] = [9]  # which is measured anew
    (tmp_path / "photographs.json").write_text(json.dumps(kept))
    write_page({"caltech": runs["caltech"]}, "commit new", tmp_path)
    before, after = (one / "photographs.md" for one in (docs, tmp_path))
    everywhere = "Measured at commit abc123."
    apart = (
        "Measured:\n\n- evidence, development, few_shot, transductive, ood at commit abc123\n"
        "- caltech at commit new"
    )
    assert everywhere in before.read_text()
    assert after.read_text() == before.read_text().replace(everywhere, apart)


def test_figures_of_two_students_are_not_mixed(
    runs: Mapping[str, Run], docs: Path, tmp_path: Path
) -> None:
    kept = json_of(docs / "photographs.json")
    kept["evidence"]["made_with"]["student"]["weights"] = "others"
    path = tmp_path / "photographs.json"
    path.write_text(json.dumps(kept))
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"caltech.* and evidence are of different students\. Run"):
        write_page({"caltech": runs["caltech"]}, "commit new", tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_without_evidence_there_is_no_page(runs: Mapping[str, Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no evidence, neither run nor kept\. Run --step evidence"):
        write_page({"caltech": runs["caltech"]}, "commit new", tmp_path)
    (tmp_path / "photographs.json").write_text("{")
    with pytest.raises(UserError, match=r"\.json: damaged \(JSONDecodeError\)\. Take it"):
        write_page({"caltech": runs["caltech"]}, "commit new", tmp_path)


def test_measures_read_from_the_page_are_those_of_the_workspaces(
    runs: Mapping[str, Run], docs: Path
) -> None:
    wanted = [read_measures(runs[name].work, runs[name].params) for name in ("evidence", "caltech")]
    assert read_photographs(docs / "photographs.json") == wanted
    assert [one.source for one in wanted] == ["birds", "fish"]


def test_the_page_shows_every_run_and_small_pictures(docs: Path) -> None:
    text = (docs / "photographs.md").read_text(encoding="utf-8")
    assert text.index("In plain words") < text.index("How it was measured") < text.index("# By da")
    assert "2 datasets of photographs: birds, fish." in text
    assert "at 1 shot " in part(text, "In plain words, from evidence alone")
    assert "cars" not in part(text, "In plain words, from evidence alone")
    assert "Choices were made on cars" in part(text, "Development")
    assert "unlabelled training images of all classes" in part(text, "Transductive")
    assert "| fish-inked |" in part(text, "Transfer from fish")
    assert "| birds-inked |" in part(text, "Transfer from birds")
    for word in ("tiny_imagenet were in the training part", "64 pixels", "rarely and noisily"):
        assert word in " ".join(text.split())
    shown = re.findall(r"!\[.*\]\((.*)\)", text)
    assert sorted(shown) == ["photographs/few_shot.png", "photographs/methods.png"]
    assert all(0 < (docs / name).stat().st_size < 300_000 for name in shown)


def test_no_path_of_the_machine_is_on_the_page(docs: Path, tmp_path: Path) -> None:
    for name in ("photographs.md", "photographs.json"):
        assert str(tmp_path.parents[1]) not in (docs / name).read_text(encoding="utf-8")


def test_of_evidence_alone_the_page_leaves_the_rest_out(
    runs: Mapping[str, Run], tmp_path: Path
) -> None:
    write_page({"evidence": runs["evidence"]}, "commit abc123", tmp_path)
    text = (tmp_path / "photographs.md").read_text(encoding="utf-8")
    assert list(json_of(tmp_path / "photographs.json")) == ["evidence", "ood"]
    for absent in ("## Few shots", "## Development", "few_shot.png", "from fish"):
        assert absent not in text


def test_a_run_that_was_not_compared_names_its_command(
    runs: Mapping[str, Run], tmp_path: Path
) -> None:
    empty = Run(runs["evidence"].params, Workspace(tmp_path))
    with pytest.raises(UserError, match=r"nothing was compared\. Run fdbpl compare first"):
        write_page({"evidence": empty}, "commit abc123", tmp_path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", ["birds", "fish"])
def test_mistakes_are_what_joint_accuracy_lacks(
    runs: Mapping[str, Run], dataset: str, method: str
) -> None:
    run = runs["evidence"]
    found, record = mistakes(run.params, run.work, dataset, method), run_of(run.work, dataset)
    images = record["test_images"]
    cells = [cell["measures"]["joint"] for cell in record["methods"][method].values()]
    right = sum(cell[half] / 100 * images[half] for cell in cells for half in ("base", "new"))
    assert found.of == len(cells) * sum(images.values())
    assert found.of - found.wrong == pytest.approx(right)
    assert sum(one.times for one in found.confusions) == found.wrong
    times = [one.times for one in found.confusions]
    assert times == sorted(times, reverse=True)
    assert all(one.truth != one.taken_for and one.times <= one.of for one in found.confusions)


def of_records(root: Path, **changes: Any) -> Measures:
    return read_measures(written_to(Workspace(root), parameters(), **changes), parameters())


@pytest.mark.parametrize("photographed", [-3.0, 2.0, 5.0])
def test_a_figure_holds_where_both_intervals_have_one_sign(
    tmp_path: Path, photographed: float
) -> None:
    drawn = of_records(tmp_path)
    lift = {**LIFT, "fdbpl": photographed}
    there = of_records(tmp_path, comparison=comparison(lift), ood=None)
    for one in contrasts(drawn):
        for name, pair in one.pairs.items():
            before, after = drawn.difference(*pair), there.difference(*pair)
            told = [(v, text) for v, text in verdicts(one, drawn, [there]) if f"{name} " in text]
            if before and after:
                holds = HOLDS if before.sign == after.sign else FAILS
                assert (holds if after.units > 1 else UNKNOWN, f"{name} {after}") in told
    every = [verdict for one in contrasts(drawn) for verdict, _ in verdicts(one, drawn, [there])]
    assert UNKNOWN in every  # no OOD record
    assert (FAILS in every) == (photographed != LIFT["fdbpl"])


def test_every_source_of_a_transfer_answers(tmp_path: Path) -> None:
    drawn = of_records(tmp_path)
    second = transfer({**LIFT, "fdbpl": -9}) | {"source": "cars"}
    other = Measures(
        "cars", of_records(tmp_path, transfer=second).only(lambda name: name != "icons").found
    )
    (one,) = [one for one in contrasts(drawn) if one.about.startswith("**Transfer**")][:1]
    told = dict(reversed(pair) for pair in verdicts(one, drawn, [drawn, other]))
    assert [name for name in told if "cross-dataset from objects" in name]
    (lost,) = [name for name in told if "cross-dataset from cars" in name]
    assert told[lost] == FAILS


def test_the_page_of_results_begins_with_photographs_and_holds_claims_against_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "read_params", lambda path: parameters())
    written_to(Workspace(Path("runs/one")), parameters())
    worse = comparison({**LIFT, "fdbpl": 0.5}, datasets=("tiny", "cars", "scenes"))
    Path("docs").mkdir()
    Path("docs/photographs.json").write_text(json.dumps({"evidence": worse, "ood": ood(70)}))
    done = CliRunner().invoke(results.main, ["--run", "one"])
    assert done.exit_code == 0, done.output
    text = Path("docs/results.md").read_text(encoding="utf-8")
    assert text.index("## Photographs") < text.index("## In plain words")
    assert "3 datasets: tiny, cars, scenes." in part(text, "Photographs, from evidence alone")
    lines = part(text, "In plain words, from evidence alone").splitlines()
    claim = said(text, "FDBPL, ours against KDPL:")
    below = lines[lines.index(claim) + 1]
    assert re.fullmatch(r"  - On photographs: does not hold in H -.*, in joint H -.*\.", below)
    claims = [line for line in lines if line.startswith("- ")]
    assert len([line for line in lines if line.startswith("  - On photographs")]) == len(claims)


def test_a_damaged_record_of_photographs_names_its_command(tmp_path: Path) -> None:
    path = tmp_path / "photographs.json"
    for wrong in ("{", "{}", json.dumps({"evidence": {"methods": []}})):
        path.write_text(wrong)
        with pytest.raises(UserError, match=r"photographs\.json: damaged or old .*photographs aga"):
            read_photographs(path)


def test_what_seeing_all_classes_brings_is_told(runs: Mapping[str, Run], docs: Path) -> None:
    text = (docs / "photographs.md").read_text(encoding="utf-8")
    told = text.split("Learned from unlabelled pictures of all classes")[1]
    record = json_of(docs / "photographs.json")["transductive"]["transductive"]
    gaps = transductive_measures(record).difference(("H", "fdbpl"), ("H", "zero_shot"))
    (line,) = [one for one in told.splitlines() if "FDBPL, ours against zero-shot: " in one][:1]
    assert f"in H {gaps}" in line
