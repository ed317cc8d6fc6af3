"""Runs over photographs: valid parameters, evidence apart from choices, pictures where they say."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from packed import pack_dataset
from small_pipeline import CLASSES, small_params

from fdbpl.clip import small
from fdbpl.data.readers.folder import read_folder
from fdbpl.data.readers.table import read_table
from fdbpl.methods.registry import IMPORTED, METHODS
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from studies.contrasts import OURS
from studies.photographs import runs
from studies.photographs.parts import DATASETS, DEVELOPMENT, EVIDENCE
from studies.photographs.runs import (
    EVERY,
    RUNS,
    SHIFTED,
    Run,
    execute,
    measured,
    parameters,
    unpack_all,
)
from studies.photographs.shifts import SHIFTS


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    return RUNS[request.param]


@pytest.fixture
def params(run: Run, tmp_path: Path) -> Params:
    return parameters(run, tmp_path, tmp_path / "student.safetensors")


def test_parameters_are_of_the_run_and_of_every_method(
    run: Run, params: Params, tmp_path: Path
) -> None:
    known = {run.source} - {None}
    shifted = set(params.datasets) - set(run.datasets) - known
    assert params.datasets[: len(run.datasets)] == list(run.datasets)
    assert params.source == (run.source or run.datasets[0])
    assert set(measured(params, run).datasets) == set(params.datasets) - known
    assert set(params.shifted) == shifted
    assert len(shifted) == (len(SHIFTS) if run.shifted else 0)
    assert not run.shifted or params.source in SHIFTED
    assert set(params.data.own) == set(params.datasets)
    assert params.methods == [one.rpartition(":")[-1] for one in run.methods]
    suits = {name for name, one in METHODS.items() if one.sees != "prompted"}
    assert {*EVERY, IMPORTED} == suits
    assert OURS in run.methods or run.seeds == RUNS["late"].seeds
    student = run.student or small.PAIR[0]
    assert (params.student.architecture, params.teacher.architecture) == (student, small.PAIR[1])
    seen = {params.method(one).sees for one in params.methods}
    assert "prompted" not in seen or student == small.VIT
    assert params.student.weights == (
        "small" if run.student else str(tmp_path / "student.safetensors")
    )
    assert params.teacher.weights == "small"
    for name in run.datasets:
        assert params.data.own[name].template == DATASETS[name].template


def test_choices_and_evidence_share_neither_datasets_nor_seeds() -> None:
    development = RUNS["development"]
    for name, run in RUNS.items():
        if name in ("development", "late", "bridge_efficientnet", "bridge_vit"):
            assert set(run.datasets) == set(DEVELOPMENT)
            assert run.seeds == development.seeds
        else:
            assert set(run.datasets) <= set(EVIDENCE)
            assert not set(run.datasets) & set(development.datasets)
            assert not set(run.seeds) & set(development.seeds)
    assert set(RUNS["evidence"].datasets) == set(EVIDENCE)


def test_development_is_named_as_such(run: Run, params: Params) -> None:
    assert set(params.development or ()) == set(run.datasets) & set(DEVELOPMENT)


def test_pictures_lie_where_the_parameters_say(run: Run, params: Params, tmp_path: Path) -> None:
    for name in DATASETS:
        pack_dataset(tmp_path, name, ["cat", "owl"], train=1, test=1)
    said = list[str]()
    unpack_all(tmp_path, tmp_path, said.append)
    assert len(said) == 1
    for name, own in params.data.own.items():
        if name in params.shifted:
            assert own.table is not None
            found = read_table(name, Path(own.table), own.template)
            assert not found.train
        else:
            assert own.folder is not None
            found = read_folder(name, Path(own.folder), own.template)
            assert len(found.train) == 2
        assert found.class_names == ("cat", "owl")
        assert len(found.test) == 2


@contextmanager
def threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:  # in the place of processes, which take long to start
        yield pool


@pytest.mark.parametrize("with_ood", [False, True])
def test_all_stages_of_a_run_and_a_second_time_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_ood: bool
) -> None:
    monkeypatch.setattr(runs, "processes", threads)
    monkeypatch.setattr(runs, "RUNS", {"made up": Run((*CLASSES,), (), with_ood=with_ood)})
    params = small_params(tmp_path, ["zero_shot", "fdbpl"])
    said = list[str]()
    work = execute("made up", params, tmp_path, 2, said.append)
    assert work.root == tmp_path / "runs" / "made up"
    assert all(line.startswith("made up") for line in said)
    assert said[-1] == "made up: compared"
    for name in CLASSES:
        assert read_record(params, name, work).run("transfer", 2)
    assert work.comparison("md").is_file()
    assert work.ood("json").is_file() == with_ood
    compared = work.comparison("json").read_bytes()
    said.clear()
    execute("made up", params, tmp_path, 2, said.append)
    trained = [line for line in said if "train student" in line and " trainings, " in line]
    assert len(trained) == 2
    assert all(": 0 trainings, " in line for line in trained)
    assert work.comparison("json").read_bytes() == compared


def test_a_stage_that_fails_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "processes", threads)

    def fail(stage: str, *_: object) -> list[str]:
        if stage == "cache_teacher":
            raise KeyboardInterrupt
        return [f"{stage} done"]

    monkeypatch.setattr(runs, "run_stage", fail)
    said = list[str]()
    with pytest.raises(KeyboardInterrupt):
        execute("evidence", small_params(tmp_path, ["zero_shot"]), tmp_path, 1, said.append)
    assert said == ["evidence, prepare crops: prepare_crops done"] * len(CLASSES)
