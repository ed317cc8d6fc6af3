"""The page of results, from small records in the stages' formats."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from result_records import DATASETS, LIFT, comparison, ood, transfer

from fdbpl.evaluation.statistics import Interval, linearised_h, t_interval
from fdbpl.settings.params import Params, check_params
from fdbpl.stages.made_with import of_all
from fdbpl.stages.summary import write_summary
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies import results
from studies.measures import Measures
from studies.page import page
from studies.records import read_measures

EVIDENCE = [name for name in DATASETS if name != "icons"]
MODEL = {"architecture": "small", "weights": "tiny"}
WORDS = "In plain words, from evidence alone"
RECORDS = {"comparison": comparison(), "ood": ood()}


def parameters(**changes: Any) -> Params:
    raw = {"datasets": list(DATASETS), "development": ["icons"], "methods": ["kdpl", "fdbpl"]}
    raw |= {"protocols": ["base-to-new", "transfer"]}
    return check_params({**raw, "student": MODEL, "teacher": MODEL, **changes})


def written_to(work: Workspace, params: Params, **changes: Any) -> Workspace:
    """A workspace that holds records made with parameters, but for those that are None."""
    records = {**RECORDS, **changes}
    if "transfer" in changes:
        moved = records.pop("transfer")
        records["comparison"] = {**records["comparison"], "transfer": moved}
        if moved is None:
            del records["comparison"]["transfer"]
    for name, place in {"comparison": work.comparison, "ood": work.ood}.items():
        if records[name] is not None:
            write_summary(place, {**records[name], "made_with": of_all(params)}, "", b"")
    return work


@pytest.fixture
def measured(tmp_path: Path) -> Any:
    """What reads records, changed, as measures."""

    def read(**changes: Any) -> Measures:
        work = written_to(Workspace(tmp_path), parameters(), **changes)
        return read_measures(work, parameters())

    return read


def written(measures: Measures, further: Mapping[str, str] = {}, **changes: Any) -> str:
    return page(parameters(**changes), measures, "commit abc123, on a chip", further)


def part(text: str, title: str) -> str:
    """The text under a heading, to the next."""
    return re.split(r"^#+ ", text.split(f"# {title}\n")[1], flags=re.MULTILINE)[0]


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def said(text: str, *words: str) -> str:
    """The one sentence of the summary that has all these words."""
    lines = part(text, WORDS).splitlines()
    (found,) = [line for line in lines if line[:1] == "-" and all(word in line for word in words)]
    return found


def halves(method: str, names: Sequence[str], *, joint: bool = False) -> list[list[float]]:
    cells = [comparison()["methods"][method]["datasets"][name] for name in names]
    return [
        [(cell["joint"] if joint else cell)[half] for cell in cells] for half in ("base", "new")
    ]


def gap(ours: str, theirs: str, *, joint: bool = False) -> Interval:
    values = [linearised_h(*halves(one, EVIDENCE, joint=joint)) for one in (ours, theirs)]
    return t_interval(values[0] - values[1])


def test_evidence_and_development_stand_apart(measured: Any) -> None:
    text = written(measured())
    before, after = text.split("## Development")
    assert "icons" not in before
    assert "3 datasets: objects, flowers, textures." in before
    assert "Choices were made on icons" in after
    assert "| H / joint H " in after
    assert "flowers" not in after


def test_differences_are_t_intervals_of_h_of_averages(measured: Any) -> None:
    line = said(written(measured()), "FDBPL, ours against KDPL:")
    apart, joint = gap("fdbpl", "kdpl"), gap("fdbpl", "kdpl", joint=True)
    assert f" in H {apart}, in joint H {joint}." in line
    assert apart.units == 3


def test_a_loss_is_said_as_plainly_as_a_win(measured: Any) -> None:
    text = written(measured())
    assert "- FDBPL, ours against KDPL: beats it in H +0.82 (+0.67 to +0.97), in joint H " in text
    assert "against CoOp: falls behind it in H -0.81 (-0.96 to -0.66), in joint H " in text
    level = comparison({**LIFT, "kdpl": LIFT["fdbpl"]})
    line = said(written(measured(comparison=level)), "against KDPL:")
    assert "is not distinguishable from it in H +0.00 (+0.00 to +0.00), in joint H +0.00" in line


@pytest.mark.parametrize(
    ("about", "theirs"),
    [
        ("**Contexts' part**: FDBPL, ours", "template_bridge"),
        ("**Bridge's part**: ", "zero_shot"),
        ("**Another context's part**: ", "template_bridge"),
    ],
)
def test_every_part_is_told_by_four_measures(measured: Any, about: str, theirs: str) -> None:
    lines = [
        one for one in part(written(measured()), WORDS).splitlines() if one[2:].startswith(about)
    ]
    assert lines
    for line in lines:
        assert re.findall(r"in ([\w ]+) [+-]", line) == ["H", "joint H", "base", "new"]


def test_transfer_is_measured_by_the_targets_own_template(measured: Any) -> None:
    text = written(measured())
    found = part(text, "Transfer")
    assert "Learned on objects." in found
    assert row(found, "FDBPL, ours")[1:] == [
        "79.50, +2.00 (+2.00 to +2.00)",
        "102.00, +2.00 (one dataset: no interval)",
    ]
    assert row(found, "zero-shot")[1:] == ["77.50", "100.00"]
    line = said(text, "**Transfer**", "against zero-shot")
    assert "beats it in cross-dataset +2.00 (+2.00 to +2.00); is" in line
    assert "not distinguishable from it in shifted +2.00 (one dataset: no interval)" in line
    lost = transfer({**LIFT, "template_bridge": 5})
    text = written(measured(transfer=lost))
    assert "falls behind it in cross-dataset -3.00" in said(
        text, "**Transfer**", "against template + bridge"
    )


def test_ood_detection_is_told_of_all_our_scores(measured: Any) -> None:
    text = written(measured())
    line = said(text, "**AUROC, near OOD**")
    assert "beats it by energy + Mahalanobis +5.00" in line
    assert "is not distinguishable from it by energy +0.00" in line
    assert '"no" prompt' not in line  # ours has none
    assert "**AUROC, far OOD**" not in text
    found = part(text, "OOD detection")
    ours = row(found, "FDBPL, ours, energy + Mahalanobis")
    assert ours[2].endswith(", +5.00 (+5.00 to +5.00)")
    assert row(found, "zero-shot, energy")[2:] == ["75.73", "5.00"]
    generic = row(found, 'zero-shot, "a photo of a", "no" prompt')
    assert generic[2].endswith(", -3.00 (-3.00 to -3.00)")


def test_what_was_not_run_is_said_with_how_to_run_it(measured: Any) -> None:
    text = written(measured(transfer=None, ood=None))
    assert "Add transfer to protocols" in part(text, "Transfer")
    assert "or `fdbpl ood`" in part(text, "OOD detection")
    assert "**Transfer**" not in text
    empty = measured(transfer={"source": None, "targets": {}, "methods": {}})
    assert empty.found.keys() >= {"base", "joint new"}
    assert "Add transfer to protocols" in written(empty)


def test_without_development_all_is_evidence(measured: Any) -> None:
    text = written(measured(), development=[])
    assert "4 datasets: objects, icons" in text
    assert "made on datasets that params.yaml does not name" in part(text, "Development")


def test_settings_and_what_other_commands_wrote_stand_on_the_page(measured: Any) -> None:
    further = {"Costs": "| a | b |\n", "Coverage of the intervals": "often"}
    text = written(measured(), further=further, objectives={"fdbpl": {"first_weight": 0.25}})
    assert "at commit abc123, on a chip." in text
    assert "'first_weight': 0.25" in text
    assert "seeds 1, 2, 3" in text
    assert "| a | b |" in part(text, "Costs")
    assert "often" in part(text, "Coverage of the intervals")


def test_the_summary_fits_a_page_and_every_long_table_is_folded_behind_it(measured: Any) -> None:
    text = written(measured(), further={"Costs": "| a | b |"})
    summary, tables = text.split("## The tables\n")
    assert summary.count("\n") < 50
    assert len([line for line in summary.splitlines() if line.startswith("- ")]) == 15
    assert tables.count("<details>") == tables.count("</details>") == tables.count("\n### ") == 5


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"train": {"lr": 0.5}}, "train.lr 0.002, wanted 0.5"),
        ({"shots": 4}, "shots 16, wanted 4"),
        ({"objectives": {"fdbpl": {"mutual_weight": 2}}}, "objectives.fdbpl.mutual_weight"),
    ],
)
def test_records_of_other_parameters_are_refused(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    work = written_to(Workspace(tmp_path), parameters())
    with pytest.raises(UserError, match=rf"compare.json: made with {key}.*Run fdbpl compare"):
        read_measures(work, parameters(**changes))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "read_params", lambda path: parameters())
    written_to(Workspace(Path("runs/one")), parameters())
    Path("tried.md").write_text("| tried |")
    words = ["--run", "one", "--add", "What was tried=tried.md"]
    done = CliRunner().invoke(results.main, words)
    assert done.exit_code == 0, done.output
    text = Path("docs/results.md").read_text()
    assert "| tried |" in part(text, "What was tried")
    assert str(tmp_path) not in text
    for wrong in ([], [*words, "--add", "no.md"], [*words, "--add", "No=no.md"]):
        done = CliRunner().invoke(results.main, wrong)
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
