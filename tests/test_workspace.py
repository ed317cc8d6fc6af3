"""The command that a message names: right for how the user got there."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fdbpl.cli import main
from fdbpl.stages import OVER_ALL, PER_DATASET
from fdbpl.system.workspace import Workspace

STAGES = [name.replace("_", "-") for name in (*PER_DATASET, *OVER_ALL)]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("run", [None, "default", "other"])
def test_it_runs_the_stage_where_the_workspace_is(stage: str, run: str | None) -> None:
    dataset = "mine" if stage.replace("-", "_") in PER_DATASET else None
    command = Workspace(Path() if run is None else Path("runs") / run).command(stage, dataset)
    if run is None:
        assert command == f"dvc repro {stage}" + ("@mine" if dataset else "")
        return
    words = command.split()
    parsed = main.get_command(None, words[1]).make_context("", words[2:])  # type: ignore[arg-type]
    assert (words[0], words[1], parsed.params["run"]) == ("fdbpl", stage, run)
    assert parsed.params.get("dataset") == dataset


def test_what_a_stage_of_dvcs_finds_wrong_is_run_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """For DVC takes it for up to date, or it would have run it before."""
    monkeypatch.setenv("DVC_STAGE", "evaluate@mine")
    project, by_hand = Workspace(Path()), Workspace(Path("runs/default"))
    forced = "dvc repro --force --single-item train-student@mine"
    assert project.command("train-student", "mine") == forced
    assert project.command("evaluate", "mine", force=False) == "dvc repro evaluate@mine"
    assert by_hand.command("train-student", "mine") == "fdbpl train-student mine"


def test_what_is_missing_names_the_run_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = Path("params.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    for words, says in (
        (("train-student", "dishes"), "fdbpl prepare-crops dishes --run x"),
        (("compare",), "fdbpl evaluate objects --run x"),
        (("record",), "the stages with --run x"),
    ):
        result = CliRunner().invoke(main, [*words, "--run", "x", "--params", str(params)])
        assert result.exit_code == 2
        assert f"Run {says} first" in result.output
    result = CliRunner().invoke(
        main, ["regions", "dishes", "0", "--out", "x.png", "--params", str(params)]
    )
    assert "Run dvc repro prepare-crops@dishes first" in result.output
