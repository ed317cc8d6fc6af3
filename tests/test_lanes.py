"""Lanes, with a DVC of a few lines in the place of the real one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from fdbpl.settings.params import read_params
from fdbpl.settings.resolved import RESOLVED, resolved
from flows import lanes
from flows.dvc_files import HEAD

PROJECT = Path(__file__).resolve().parents[1]
FAKE = """
import json, os, sys, time
words = [word for word in sys.argv[1:] if word != "--wait-for-lock"]
if words[0] == "status":
    print(open("changed.json").read())
else:
    with open("calls.jsonl", "a") as file:
        file.write(json.dumps([*words[1:], "start", os.environ.get("OMP_NUM_THREADS")]) + "\\n")
    time.sleep(float(open("seconds").read()))
    if words[-1].endswith("@bad"):
        sys.exit(f"ERROR: failed to reproduce '{words[-1]}'")
    with open("calls.jsonl", "a") as file:
        file.write(json.dumps([*words[1:], "end"]) + "\\n")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(PROJECT)]))
    (tmp_path / ".git").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    (tmp_path / "dvc.py").write_text(FAKE)
    (tmp_path / "seconds").write_text("0")
    given = json.dumps(
        {
            "datasets": ["icons", "ok", "dishes"],
            "methods": ["zero_shot"],
            "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
            "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
        }
    )
    (tmp_path / "params.yaml").write_text(given)
    return tmp_path


def changed(project: Path, *stages: str) -> None:
    (project / "changed.json").write_text(json.dumps({stage: [] for stage in stages}))


def calls(project: Path) -> list[list[str]]:
    path = project / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def cached(dataset: str) -> str:
    return f"--single-item prepare-crops@{dataset} cache-teacher@{dataset}"


def learned(dataset: str, source: str = "icons") -> str:
    if dataset == source:
        return f"--single-item train-student@{dataset}"
    return f"{cached(dataset)} train-student@{dataset}"


def ended(project: Path) -> list[str]:
    return [" ".join(call[:-1]) for call in calls(project) if call[-1] == "end"]


def test_learning_then_evaluating_then_tables_then_whatever_is_left(project: Path) -> None:
    changed(project, "prepare-crops@icons", "train-student@dishes")
    assert lanes.main(["2"]) == 0
    done = ended(project)
    assert done[0] == cached("icons")  # the source, which all others may read
    assert sorted(done[1:4]) == [learned(one) for one in ("dishes", "ok", "icons")]
    evaluated = [f"--single-item evaluate@{one}" for one in ("dishes", "icons", "ok")]
    assert sorted(done[4:7]) == evaluated
    assert sorted(done[7:9]) == ["--single-item compare", "--single-item ood"]
    assert done[9:] == [""]


@pytest.mark.parametrize("source", ["icons", "dishes"])
def test_the_source_is_learned_on_first(project: Path, source: str) -> None:
    params = json.loads((project / "params.yaml").read_text())
    (project / "params.yaml").write_text(json.dumps({**params, "source": source}))
    changed(project, "train-student@icons", "cache-teacher@dishes")
    assert lanes.main(["1"]) == 0
    found = [one for one in ended(project) if "train-student" in one]
    assert found[0] == learned(source, source)
    assert (ended(project)[0] == cached(source)) == (source == "dishes")  # where these changed


def test_only_what_changed_is_evaluated_where_the_source_is_up_to_date(project: Path) -> None:
    changed(project, "train-student@dishes")
    assert lanes.main(["1"]) == 0
    assert ended(project)[:3] == [
        *(learned("dishes"), "--single-item evaluate@dishes", "--single-item compare"),
    ]


def test_what_is_up_to_date_is_not_asked_for(project: Path) -> None:
    changed(project)
    assert lanes.main([]) == 0
    assert ended(project) == [""]


def test_lanes_run_side_by_side_and_share_the_cores(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    (project / "seconds").write_text("1")
    changed(project, "train-student@icons", "train-student@dishes")
    assert lanes.main(["2"]) == 0
    first = calls(project)[:2]
    assert [call[-2:] for call in first] == [["start", "3"], ["start", "3"]]


@pytest.mark.parametrize("stage", ["train-student", "evaluate"])
def test_one_failure_stops_no_other_dataset_but_what_reads_all(
    project: Path, stage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.dvc._ending", threading.Event())
    params = json.loads((project / "params.yaml").read_text())
    params |= {"datasets": ["icons", "bad", "dishes"]}
    (project / "params.yaml").write_text(json.dumps(params))
    changed(project, f"{stage}@bad", "train-student@dishes", "compare")
    assert lanes.main(["1"]) == 1
    assert f"failed to reproduce '{stage}@bad'" in capsys.readouterr().err
    assert ended(project) == [learned("dishes"), "--single-item evaluate@dishes"]


@pytest.mark.parametrize("words", [["0"], ["two"], ["1", "2"]])
def test_a_wrong_number_of_lanes_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lanes.main(words) == 2
    assert "wanted one number" in capsys.readouterr().err


def test_a_folder_in_no_git_repository_is_told_before_anything_runs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".git").rmdir()
    assert lanes.main(["1"]) == 2
    assert "Say git init" in capsys.readouterr().err
    assert calls(project) == []


def test_what_a_crash_left_is_mended_first(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(project)
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n  compare:\n    deps:")
    assert lanes.main(["1"]) == 0
    assert capsys.readouterr().out.startswith("dvc.lock: damaged; ")


def test_parameters_are_written_first_where_they_are_others(project: Path) -> None:
    changed(project)
    (project / "dvc.yaml").write_text("stages: {parameters: {cmd: python -m flows.parameters}}")
    assert lanes.main(["1"]) == 0
    assert ended(project) == ["--single-item parameters", ""]
    (project / RESOLVED).write_bytes(resolved(read_params(project / "params.yaml")))
    assert lanes.main(["1"]) == 0  # dvc.lock knows nothing of them, as after a kill
    assert ended(project)[2:] == ["--single-item parameters", ""]
    (project / "dvc.lock").write_bytes(HEAD + b"  parameters:\n    cmd: x\n")
    assert lanes.main(["1"]) == 0
    assert ended(project)[4:] == [""]


def test_an_interrupt_is_one_line_and_leaves_no_process(project: Path) -> None:
    changed(project, "train-student@icons", "train-student@dishes")
    (project / "seconds").write_text("100")
    words = [sys.executable, "-m", "flows.lanes", "2"]
    environment = {**os.environ, "PYTHONPATH": os.environ["PYTHONPATH"]}
    # what a shell starts with & ignores interrupts, and so would all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        words, cwd=project, env=environment, stderr=subprocess.PIPE, text=True
    ) as run:
        while not calls(project):
            time.sleep(0.1)
        started = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said == "interrupted; what was done stays, and the next run goes on from there\n"
    assert psutil.wait_procs(started, timeout=30)[1] == []
