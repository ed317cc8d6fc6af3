import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import draw_folder

from fdbpl.settings.params import check_params, load_yaml
from fdbpl.settings.resolved import RESOLVED, resolved
from fdbpl.system.processes import MARK
from flows.stage import STAGES, as_flow, main, run

PROJECT = Path(__file__).resolve().parents[1]


def flow(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(PROJECT), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-m", "flows.stage", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    for stage, words, says in (
        ("prepare-crops", ("no-such",), "dataset 'no-such' is unknown"),
        ("compare", (), "no such file"),
    ):
        result = flow(stage, *words, folder=tmp_path)
        assert result.returncode == 2
        assert says in result.stderr
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_what_the_system_refuses_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    names = {"folder": str(draw_folder(tmp_path / "mine", {"a": (1, 1), "b": (1, 1)}))}
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    raw |= {"datasets": ["mine"], "data": {"own": {"mine": names}}}
    raw |= {"development": [], "source": "mine", "shifted": [], "protocols": ["all-classes"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    result = flow("prepare-crops", "mine", folder=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "error: runs/default/plans: Not a directory. Move away the file that "
        "stands where a folder is wanted, then run again.\n"
    )


@pytest.mark.parametrize(("under_dvc", "root"), [(False, "runs/default"), (True, ".")])
def test_only_a_stage_that_dvc_started_writes_dvcs_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, under_dvc: bool, root: str
) -> None:
    seen = []
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if under_dvc:
        monkeypatch.setenv("DVC_STAGE", "compare")
    monkeypatch.setattr(
        "flows.stage.run_stage", lambda stage, params, work, *_: seen.append(work.root) or []
    )
    run("compare")
    assert seen == [Path(root)]


def test_an_interrupt_is_one_word_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.stage.as_flow", lambda stage: interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["compare"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("stage", ["prepare-crops@mine", "../dvc.yaml:prepare-crops@mine"])
def test_a_stage_that_dvc_started_finds_its_dataset_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    seen: list[object] = []
    monkeypatch.setenv("DVC_STAGE", stage)
    monkeypatch.setattr("flows.stage.as_flow", lambda name: lambda *words: seen.append(words))
    main(["prepare-crops"])
    main(["prepare-crops", "yours"])
    monkeypatch.setenv("DVC_STAGE", "compare")
    main(["compare"])
    assert seen == [("prepare-crops", "mine"), ("prepare-crops", "yours"), ("compare",)]


def test_a_stage_that_dvc_started_reads_what_dvc_knows_of_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit of params.yaml is the next run's."""
    text = (PROJECT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("shots: 16", "shots: 3"))
    (tmp_path / RESOLVED).write_bytes(resolved(check_params(load_yaml(text))))
    monkeypatch.chdir(tmp_path)
    seen: list[object] = []
    monkeypatch.setattr(
        "flows.stage.run_stage", lambda stage, params, *_: seen.append(params.shots) or []
    )
    monkeypatch.setenv("DVC_STAGE", "compare")
    run("compare")
    monkeypatch.delenv("DVC_STAGE")
    run("compare")
    assert seen == [16, 3]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), f"STAGE one of {', '.join(STAGES)}"),
        (("prepare_crops", "dtd"), "STAGE one of prepare-crops"),
        (("evaluate",), "usage: python -m flows.stage evaluate DATASET"),
        (("compare", "dtd"), "usage: python -m flows.stage compare\n"),
    ],
)
def test_wrong_words_are_answered_with_the_usage(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    result = flow(*words, folder=tmp_path)
    assert result.returncode == 2
    assert says in result.stderr


def test_only_the_projects_own_prefect_is_told_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.delenv(MARK, raising=False)
    assert as_flow("compare") is run
    monkeypatch.setenv(MARK, "up")
    assert as_flow("compare").name == "compare"
