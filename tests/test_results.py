"""The page of results, from small records in the stages' formats."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from result_records import DATASETS, LIFT, SEEDS, comparison, rejection, transfer

from fdbpl.cli import main
from fdbpl.errors import UserError
from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.statistics import Interval, paired_bootstrap
from fdbpl.made_with import of_all, of_transfer
from fdbpl.params import Params, check_params
from fdbpl.results import sections, standing
from fdbpl.results.costs import Cost
from fdbpl.results.page import page
from fdbpl.results.world import World, read_world
from fdbpl.workspace import Workspace

MODEL = {"architecture": "small", "weights": "tiny"}
COSTS = [Cost("kdpl", 256, 2048, 0, 2.5), Cost("fdbpl", 512, 4096, 645, 4.25)]


def parameters(**changes: Any) -> Params:
    raw = {"datasets": list(DATASETS), "development": ["icons"], "methods": list(LIFT)}
    return check_params({**raw, "student": MODEL, "teacher": MODEL, **changes})


def world(**changes: Any) -> World:
    records = {"comparison": comparison(), "transfer": transfer(), "rejection": rejection()}
    return World("this world", **{**records, **changes})


def written(first: World, *others: World, **changes: Any) -> str:
    return page(parameters(**changes), first, others, COSTS, commit="abc123", machine=["a chip"])


def part(text: str, title: str) -> str:
    """The text under a heading, to the next."""
    return re.split(r"^#+ ", text.split(f" {title}\n")[1], flags=re.MULTILINE)[0]


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} ")][:1]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_evidence_and_development_stand_apart() -> None:
    text = written(world())
    evidence = part(text, "Evidence: base to new")
    assert all(f"| {name} " in evidence for name in ("objects", "flowers", "textures"))
    assert "| icons " not in evidence
    developed = part(text, "Development: base to new")
    assert "| icons " in developed
    assert "| flowers " not in developed
    assert "icons" not in part(text, "In plain words, from evidence alone")
    assert "objects-hard" not in text[text.index("## Development") :]


def test_the_averages_and_differences_by_hand() -> None:
    text = part(written(world()), "Evidence: base to new")
    ours, theirs = (
        standing.accuracies(comparison(), name, ("objects", "flowers", "textures"), "h")
        for name in ("fdbpl", "kdpl")
    )
    assert ours
    assert theirs
    gaps = [[ours[d][s] - theirs[d][s] for s in SEEDS] for d in ours]
    gap = paired_bootstrap(gaps, seed=0)
    cells = row(text, "FDBPL, ours")
    assert cells[5] == f"{gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"
    assert float(cells[4]) - float(row(text, "KDPL")[4]) == pytest.approx(gap.mean, abs=0.011)
    base, new = float(cells[1]), float(cells[2])
    assert float(cells[3]) == pytest.approx(harmonic_mean(base, new), abs=0.011)
    assert row(text, "KDPL")[5] == "-"
    assert cells[-1] == "3 (H 3, new 3)"


def test_a_loss_is_said_as_plainly_as_a_win() -> None:
    words = part(written(world()), "In plain words, from evidence alone")
    assert "FDBPL, ours beats KDPL in H on 3 datasets: +" in words
    assert "FDBPL, ours does not beat, and falls behind, CoOp in H on 3 datasets: -" in words
    level = comparison({**LIFT, "kdpl": LIFT["fdbpl"]})
    words = part(written(world(comparison=level)), "In plain words, from evidence alone")
    assert "FDBPL, ours is not distinguishable from KDPL in H on 3 datasets: +0.00" in words


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.1, 1, "beats"), (-1, -0.1, "does not beat"), (-1, 1, "is not distinguishable from")],
)
def test_the_verdict_follows_the_interval(low: float, high: float, says: str) -> None:
    assert f"A {says}" in standing.verdict("A", "B", "H", Interval(0.0, low, high, pairs=2))


def test_above_the_generic_prompt_needs_h_and_new() -> None:
    record = comparison()
    for seed in record["methods"]["fdbpl"]["datasets"]["flowers"]["seeds"].values():
        seed["new"] = 1.0  # its H stays as it was
    text = written(world(comparison=record))
    words = part(text, "In plain words, from evidence alone")
    assert 'is above zero-shot, "a photo of a" on 2 (H 3, new 2) of 3 datasets.' in words


def test_a_classifier_of_base_classes_has_dashes_and_a_line() -> None:
    record = comparison()
    probe = json.loads(json.dumps(record["methods"]["coop"]))
    for cell in probe["datasets"].values():
        cell.update(new=None, h=None, h_std=None)
        for seed in cell["seeds"].values():
            seed.update(new=None, h=None)
    record["methods"]["teacher"] = probe  # any name that has a title
    text = part(written(world(comparison=record)), "Evidence: base to new")
    cells = row(text, "teacher")
    assert cells[1] == row(text, "CoOp")[1]
    assert cells[2:] == ["-"] * 6
    assert "No new and no H, since it knows the base classes alone: teacher." in text
    assert "teacher" not in text[text.index("| H ") :]


def test_transfer_leaves_development_datasets_out_of_evidence() -> None:
    text = written(world())
    evidence = part(text, "Evidence: transfer")
    assert "cross-dataset, average of 1" in evidence
    assert "Learned on objects; flowers." in evidence
    assert "Learned on objects; objects-hard." in evidence
    assert row(evidence, "FDBPL, ours")[1:4] == [
        "77.00",
        "+1.00 (+1.00 to +1.00)",
        "-1.00 (-1.00 to -1.00)",
    ]
    words = part(text, "In plain words, from evidence alone")
    assert "FDBPL, ours beats KDPL in cross-dataset accuracy (1 dataset): +1.00" in words
    assert "falls behind, CoOp in accuracy on shifted versions (1 dataset): -1.00" in words
    assert "Learned on objects; icons." in part(text, "Development: transfer")


def test_rejection_is_compared_with_every_baseline_score() -> None:
    text = written(world())
    found = part(text, "Evidence: rejection, AUROC")
    assert row(found, "FDBPL, ours, combined")[1:] == ["80.00", "-", "80.00", "-", "5.00"]
    assert row(found, "KDPL, energy")[1:3] == ["75.00", "+5.00 (+5.00 to +5.00)"]
    words = part(text, "In plain words, from evidence alone")
    assert "beats every baseline in AUROC for images of new classes." in words
    losing = part(written(world(rejection=rejection(72))), "In plain words, from evidence alone")
    assert "falls behind in AUROC for empty regions: KDPL, energy." in losing
    level = part(written(world(rejection=rejection(75))), "In plain words, from evidence alone")
    assert "not distinguishable in AUROC for empty regions from KDPL, energy." in level


def test_what_was_not_run_is_said_with_how_to_run_it() -> None:
    text = written(world(transfer=None, rejection=None))
    assert "Cross-dataset and shifted: no record. Run" in text
    assert "Rejection: no record. Run" in text
    assert "Evidence: transfer" not in text


def test_another_world_is_evidence_of_its_own() -> None:
    lower = {**LIFT, "fdbpl": 0.5}
    other = World("second", comparison(lower), None, None)
    text = written(world(), other)
    fresh = part(text, "Evidence: second, base to new")
    kindred = part(text, "Evidence: second, base to new, kinds that development knows")
    assert "- FDBPL, ours does not beat, and falls behind, KDPL in H on 3 datasets" in fresh
    assert "- FDBPL, ours does not beat, and falls behind, KDPL in H on 1 dataset" in kindred
    assert "| icons " not in fresh
    assert "| icons " in kindred


def test_several_worlds_are_told_together_and_each_in_its_own_sections() -> None:
    other = World("second", comparison({**LIFT, "fdbpl": -4}), None, rejection())
    text = written(world(), other)
    words = part(text, "In plain words, from evidence alone")
    assert "- all worlds, base to new: FDBPL, ours" in words
    assert "- base to new:" not in words
    assert "icons" not in words
    assert "3 (H 3, new 3) of 3 in this world, 0 (H 0, new 0) of 3 in second." in words
    assert "transfer" not in words  # of which one world has no record
    joined = row(part(text, "Evidence: all worlds, base to new"), "FDBPL, ours")
    alone = [
        row(part(text, f"Evidence: {title}base to new"), "FDBPL, ours")
        for title in ("", "second, ")
    ]
    assert float(joined[1]) == pytest.approx(np.mean([float(one[1]) for one in alone]), abs=0.011)
    assert "- FDBPL, ours beats KDPL in H" in part(text, "Evidence: base to new")


def test_worlds_without_a_method_in_common_are_not_told_together() -> None:
    other = World("second", comparison({"paper": 1}), None, None)
    text = written(world(), other)
    assert "all worlds, base to new" not in text
    assert "Evidence: second, base to new" in text


def test_points_on_new_classes_are_told_by_dataset() -> None:
    words = part(written(world()), "In plain words, from evidence alone")
    (line,) = [line for line in words.splitlines() if "on new classes" in line]
    assert "objects +1.96, flowers +2.04, textures +2.08." in line


def test_costs_machine_commit_and_settings_are_told() -> None:
    text = written(world(), objectives={"fdbpl": {"first_weight": 0.25}})
    assert "at commit abc123, on a chip." in text
    assert "options of fdbpl: first_weight 0.25" in text
    assert row(part(text, "Costs"), "FDBPL, ours")[1:] == ["512", "4,096", "645", "4.2"]
    assert "seeds 1, 2, 3" in text


def test_without_development_all_is_evidence_and_a_warning() -> None:
    text = written(world(), development=[])
    assert "| icons " in part(text, "Evidence: base to new")
    assert "names no development datasets, so choices may have been made on any" in text


def test_a_world_without_our_method_or_rivals_is_tables_alone() -> None:
    few = World("this world", comparison({"zero_shot_generic": 0, "paper": 1}), None, rejection())
    words = part(written(few), "In plain words, from evidence alone")
    assert words.strip().startswith("- rejection")
    assert sections.rejection(World("w", few.comparison, None, None), DATASETS) is None


TRANSFER = {"source": "objects", "targets": ["icons", "flowers", "objects-hard"]}


def write_world(work: Workspace, params: Params) -> None:
    """Write the three records as their stages would, under these parameters."""
    assert params.transfer
    of_datasets, of_targets = of_all(params), of_transfer(params, params.transfer)
    for path, record, made_with in (
        (work.comparison("json"), comparison(), of_datasets),
        (work.transferred, transfer(), of_targets),
        (work.rejection("json"), rejection(), of_datasets),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**record, "made_with": made_with}))


def test_records_are_read_from_a_workspace(tmp_path: Path) -> None:
    work, params = Workspace(tmp_path), parameters(transfer=TRANSFER)
    with pytest.raises(UserError, match=r"compare\.json: no such file\. Run fdbpl compare first"):
        read_world(work, "w", params)
    write_world(work, params)
    found = read_world(work, "w", params)
    assert (found.datasets, found.seeds) == (list(DATASETS), list(SEEDS))
    assert found.transfer
    assert read_world(work, "w", parameters()).transfer is None
    work.transferred.unlink()
    assert read_world(work, "w", params).transfer is None
    work.rejection("json").write_text("{")
    with pytest.raises(UserError, match=r"rejection\.json: damaged"):
        read_world(work, "w", params)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"train": {"lr": 0.5}}, "train.lr 0.002, wanted 0.5"),
        ({"shots": 4}, "shots 16, wanted 4"),
        ({"objectives": {"fdbpl": {"mutual_weight": 2}}}, "objectives.fdbpl.mutual_weight"),
    ],
)
def test_records_of_other_parameters_are_refused_in_every_world(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    work = Workspace(tmp_path)
    write_world(work, parameters(transfer=TRANSFER))
    for of_ours in (True, False):
        with pytest.raises(UserError, match=rf"compare.json: made with {key}.*Run fdbpl compare"):
            read_world(work, "w", parameters(transfer=TRANSFER, **changes), of_ours=of_ours)


def test_another_world_may_be_another_drawing_of_less(tmp_path: Path) -> None:
    work, params = Workspace(tmp_path), parameters(transfer=TRANSFER)
    few = {"methods": ["coop", "kdpl"], "datasets": ["icons"], "seeds": [1]}
    write_world(work, parameters(transfer=TRANSFER, data={"world": 2}, **few))
    assert read_world(work, "w", params, of_ours=False).transfer
    with pytest.raises(UserError, match="made with methods"):
        read_world(work, "w", params)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fdbpl.cli.read_params", lambda path: parameters())
    monkeypatch.setattr("fdbpl.results.costs.measure_costs", lambda *given: COSTS)
    for name in ("one", "two"):
        file = Workspace(Path("runs") / name).comparison("json")
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({**comparison(), "made_with": of_all(parameters())}))
    done = CliRunner().invoke(main, ["results", "--run", "one", "--also", "two"])
    assert done.exit_code == 0, done.output
    text = Path("docs/results.md").read_text()
    assert "Evidence: two, base to new" in text
    assert str(tmp_path) not in text
    wrong = CliRunner().invoke(main, ["results"])
    assert (wrong.exit_code, wrong.output.count("\n")) == (2, 1)


def test_gains_and_losses_are_told_by_halves_and_datasets() -> None:
    text = part(written(world()), "In plain words, from evidence alone")
    (line,) = [line for line in text.splitlines() if "minus KDPL by halves" in line]
    cells = comparison()["methods"]
    names = [name for name in DATASETS if name != "icons"]

    def gap(half: str) -> float:
        means = {
            method: np.mean(
                [
                    cell[half]
                    for d in names
                    for cell in cells[method]["datasets"][d]["seeds"].values()
                ]
            )
            for method in ("fdbpl", "kdpl")
        }
        return float(means["fdbpl"] - means["kdpl"])

    assert f"base {gap('base'):+.2f}, new {gap('new'):+.2f}" in line


def test_what_was_tried_stands_with_development() -> None:
    text = page(
        parameters(), world(), [], COSTS, commit="", machine=[], ablation="| a | b |\n| - | - |\n"
    )
    assert "| a | b |" in part(text, "Development: what was tried")
    assert "what was tried" not in written(world())
