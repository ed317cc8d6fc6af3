import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from drawn_run import student
from mlflow import MlflowClient
from mlflow.entities import Run
from workspaces import TINY, evaluated_workspace, run_of, train, workspace_params

from fdbpl.cli import main
from fdbpl.serving.model_folder import open_model
from fdbpl.serving.predictor import load_predictor
from fdbpl.serving.stream import answers
from fdbpl.stages import run_stage
from fdbpl.system.workspace import Workspace
from fdbpl.tracking import database, models
from fdbpl.tracking import runs as tracking
from fdbpl.tracking.models import FORMAT_TAG
from fdbpl.tracking.records import Records, read_records

DATASETS = ["birds", "cars"]
RUNS = 2 * 3 * 2 + 3


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take it seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Workspace:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(tracking.SETTING, raising=False)
    tracking.FOLDER.mkdir(parents=True)
    shutil.copy(empty_database, tracking.FOLDER / "mlflow.db")
    monkeypatch.setattr(models, "_load", lambda params: student())
    return evaluated_workspace(Path(), workspace_params(Path(), DATASETS, **TINY))


def read(**changes: Any) -> Records:
    params = workspace_params(Path(), DATASETS, **TINY, **changes)
    return read_records(params, Workspace(Path()))


def record(**changes: Any) -> tracking.Counts:
    return tracking.record(read(**changes), "fdbpl", register=("coop", "fdbpl"))


def mlflow_client() -> MlflowClient:
    return MlflowClient(tracking.store_uri())


def all_runs() -> list[Run]:
    experiment = mlflow_client().get_experiment_by_name("fdbpl")
    return list(mlflow_client().search_runs([experiment.experiment_id], max_results=1000))


def by_name() -> dict[str, Run]:
    return {run.info.run_name: run for run in all_runs()}


def tags_of(run: Run) -> list[str]:
    names = ("kind", "dataset", "method", "setting", "seed", "current")
    return [run.data.tags[name] for name in names]


def files_of(run: Run, folder: str) -> set[str]:
    return {Path(one.path).name for one in mlflow_client().list_artifacts(run.info.run_id, folder)}


def content(runs: list[Run]) -> list[dict[str, Any]]:
    """What runs say, whenever and under whichever id they were written."""
    said = [
        {
            "name": run.info.run_name,
            "tags": run.data.tags,
            "metrics": run.data.metrics,
            "params": run.data.params,
            "inputs": [one.dataset.to_dictionary() for one in run.inputs.dataset_inputs],
        }
        for run in runs
    ]
    return sorted(said, key=lambda one: one["tags"]["fdbpl.key"])


def aliases() -> Mapping[str, str]:
    client = mlflow_client()
    return {
        model.name: client.get_model_version_by_alias(model.name, "current").run_id
        for model in client.search_registered_models()
    }


def current() -> set[str]:
    runs = [run.data.tags for run in all_runs()]
    return {tags["fdbpl.key"] for tags in runs if tags[tracking.CURRENT] == "yes"}


def test_recording_again_adds_nothing_and_keeps_once_what_was_written_twice(
    work: Workspace,
) -> None:
    assert record() == tracking.Counts(found=0, written=RUNS, removed=0)
    before, models = all_runs(), aliases()
    assert record() == tracking.Counts(found=RUNS, written=0, removed=0)
    assert content(all_runs()) == content(before)
    assert aliases() == models
    assert len(mlflow_client().search_model_versions()) == 4
    mlflow_client().create_run(before[0].info.experiment_id, tags=before[0].data.tags)
    assert record() == tracking.Counts(found=RUNS, written=0, removed=1)
    assert content(all_runs()) == content(before)


def test_runs_say_what_the_outputs_say(work: Workspace) -> None:
    record()
    comparison, runs = json.loads(work.comparison("json").read_text()), by_name()

    flat = runs["birds coop seed 2"]
    cell = comparison["methods"]["coop"]["datasets"]["birds"]["seeds"]["2"]
    named = {"base": "base_acc", "new": "new_acc", "h": "h"}
    assert all(flat.data.metrics[there] == cell[name] for name, there in named.items())
    assert tags_of(flat) == ["seed", "birds", "coop", "base-to-new", "2", "yes"]
    history = json.loads(work.learned("birds", "base-to-new", "coop", 2, "history").read_text())
    curve = mlflow_client().get_metric_history(flat.info.run_id, "loss/cross_entropy")
    assert [point.value for point in curve] == history["terms"]["cross_entropy"]
    assert [point.step for point in curve] == [1, 2, 3]
    kinds = ("prompts.safetensors", "classifier.safetensors", "history.json")
    assert files_of(flat, "prompts") == {f"coop-seed2.{kind}" for kind in kinds}
    assert [one.dataset.name for one in flat.inputs.dataset_inputs] == ["birds"]

    summary = runs["CoOp · 2 datasets"]
    cell = comparison["methods"]["coop"]
    assert summary.data.metrics["avg/h"] == cell["avg"]["h"]
    assert summary.data.metrics["h/cars"] == cell["datasets"]["cars"]["h"]
    assert summary.data.metrics["base_acc/birds"] == cell["datasets"]["birds"]["base"]
    assert files_of(summary, "comparison") == {"compare.json", "compare.md", "compare.png"}
    assert Path(".fdbpl/mlflow/artifacts").is_dir()
    assert not Path("mlruns").exists()


def test_every_protocol_has_runs_of_its_own(work: Workspace) -> None:
    record()
    before, models = current(), aliases()
    more: dict[str, Any] = {
        "protocols": ["base-to-new", "all-classes", "transfer"],
        "shifted": ["birds-inked"],
        "shots": [1, 2],
    }
    params = workspace_params(Path(), [*DATASETS, "birds-inked"], **TINY, **more)
    evaluated_workspace(Path(), params)
    records = read_records(params, Workspace(Path()))
    assert records.notes == ()
    counts = tracking.record(records, "fdbpl", register=("coop", "fdbpl"))
    assert tracking.record(records, "fdbpl", register=("coop", "fdbpl")).written == 0
    assert counts.written + counts.found == len(current()) == RUNS + 2 * 2 * 6 + 2 * 6
    assert len(before) == RUNS
    assert aliases().keys() == models.keys()
    runs = by_name()
    shifted = runs["birds shifted coop seed 2"]
    found = {k: v for k, v in shifted.data.metrics.items() if not k.startswith("loss/")}
    source, target = (
        run_of(work, name, "transfer")["methods"]["coop"]["2"]["measures"]["accuracy"]
        for name in ("birds", "birds-inked")
    )
    assert found == {"source_acc": source, "avg_acc": target, "acc/birds-inked": target}
    assert tags_of(shifted) == ["seed", "birds", "coop", "shifted", "2", "yes"]
    assert tags_of(runs["birds cross-dataset zero_shot seed 1"])[3] == "cross-dataset"
    few = runs["cars all-classes 1 shots coop seed 2"].data
    assert (few.tags["setting"], few.tags["shots"]) == ("all-classes", "1")
    assert few.metrics["accuracy"] >= 0


def test_a_registered_model_is_the_packed_one_and_takes_pictures(work: Workspace) -> None:
    record()
    mlflow.set_tracking_uri(tracking.store_uri())
    uri = "models:/fdbpl-birds-coop@current"
    model = mlflow.pyfunc.load_model(uri, model_config={"allow_paths": True})
    pictures = sorted(Path("pictures/birds").rglob("*.png"))
    assert pictures
    found = model.predict(pd.DataFrame({"image": [str(one) for one in pictures]}))
    write_params()
    done = CliRunner().invoke(main, ["pack", "birds", "--method", "coop", "--out", "packed"])
    assert done.exit_code == 0, done.output
    predictor = load_predictor(Path("packed"))
    told = [one.prediction for one in answers(predictor, map(str, pictures), threads=1)]
    assert list(found["class"]) == [one.top[0][0] for one in told if one]
    assert np.allclose(found["probability"], [one.top[0][1] for one in told if one])
    version = mlflow_client().get_model_version_by_alias("fdbpl-birds-coop", "current")
    (place,) = Path(mlflow.artifacts.download_artifacts(version.source)).glob("artifacts/*")
    registered, packed = open_model(place), open_model(Path("packed"))
    assert (registered.about.name, packed.about.name) == ("fdbpl-birds-coop", "packed")
    assert registered.files["tower.onnx"] == packed.files["tower.onnx"]
    assert registered.files["classifier.safetensors"] == packed.files["classifier.safetensors"]
    assert len(model.predict(model.input_example)) == 1


def test_a_version_of_an_earlier_fdbpl_makes_room_for_one_that_takes_pictures(
    work: Workspace,
) -> None:
    record()
    client, name = mlflow_client(), "fdbpl-birds-fdbpl"
    made = client.get_model_version_by_alias(name, "current")
    client.delete_model_version_tag(name, made.version, FORMAT_TAG)
    record()
    after = client.get_model_version_by_alias(name, "current")
    assert (int(after.version), after.run_id) == (int(made.version) + 1, made.run_id)
    assert len(client.search_model_versions()) == 5


def test_where_all_classes_were_learned_the_model_is_of_them(work: Workspace) -> None:
    protocols: Any = {"protocols": ["base-to-new", "all-classes"], "shots": [1, 2], **TINY}
    params = workspace_params(Path(), DATASETS, **protocols)
    evaluated_workspace(Path(), params)
    tracking.record(read_records(params, Workspace(Path())), "fdbpl", register=("fdbpl",))
    version = mlflow_client().get_model_version_by_alias("fdbpl-cars-fdbpl", "current")
    run = mlflow_client().get_run(version.run_id)
    assert run.info.run_name == "cars all-classes 2 shots fdbpl seed 1"
    assert version.tags["setting"] == "all-classes"


def test_the_tower_is_written_once_and_not_at_all_where_nothing_is_new(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(models, "_load", lambda params: loaded.append(params) or student())
    record()
    assert len(loaded) == 1
    record()
    assert len(loaded) == 1
    write_params()
    code = (
        "import sys; from click.testing import CliRunner; from fdbpl.cli import main;"
        "done = CliRunner().invoke(main, ['record', '--register', 'coop,fdbpl']);"
        "print(done.output); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert f"MLflow: 0 runs written, {RUNS} were there" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_what_cannot_become_a_model_is_told_and_stops_no_other(
    work: Workspace,
) -> None:
    records = read()
    shutil.rmtree(work.cache("birds", "student"))
    counts = tracking.record(records, "fdbpl", register=("coop",))
    (note,) = counts.notes
    assert note.startswith("fdbpl-birds-coop: not registered. ")
    assert "Run dvc repro cache-teacher@birds first" in note
    assert aliases().keys() == {"fdbpl-cars-coop"}


def test_a_deleted_database_is_restored(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    record()
    before = content(all_runs())
    write_params()
    shutil.rmtree(".fdbpl/mlflow")
    command = [sys.executable, "-m", "fdbpl", "record", "--register", "coop,fdbpl"]
    # another process: this one still holds the deleted file open
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"{RUNS} runs written, 0 were there" in done.stdout
    Path("restored/.fdbpl").mkdir(parents=True)
    Path(".fdbpl/mlflow").rename("restored/.fdbpl/mlflow")
    monkeypatch.chdir("restored")
    assert content(all_runs()) == before
    assert len(aliases()) == 4


@pytest.mark.parametrize("is_there", [False, True])
def test_a_full_disk_is_one_line_and_the_rest_is_recorded_later(
    work: Workspace, is_there: bool
) -> None:
    write_params()
    if is_there:
        database.prepare(tracking.FOLDER)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from fdbpl.cli import main; main(['record'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: .fdbpl/mlflow")
    assert "Make room" in done.stderr or "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert record().written == RUNS


def write_params(**changes: Any) -> None:
    params = workspace_params(Path(), DATASETS, **TINY, **changes)
    Path("params.yaml").write_text(json.dumps(params.model_dump(mode="json")))


def registered(*words: str, code: int = 0) -> Any:
    """Which models there are after `fdbpl record`; where it fails, what it says."""
    write_params()
    done = CliRunner().invoke(main, ["record", *words])
    assert done.exit_code == code, done.output
    return done.stderr if code else sorted(aliases())


def test_a_model_a_dataset_for_each_method_that_is_asked_for(work: Workspace) -> None:
    said = registered("--register", "coop,zero_shot", code=2)
    assert "'zero_shot', wanted methods with prompts recorded here (coop, fdbpl), or none" in said
    assert "for DVC's outputs" in registered("--register", "coop", "--run", "x", code=2)
    assert registered("--register", "none") == []
    write_params(methods=["zero_shot", "teacher", "coop", "fdbpl"])
    done = CliRunner().invoke(main, ["record", "--register", "teacher"])
    assert "teacher: no registered model: the method judges what the teacher sees" in done.stdout
    assert aliases() == {}
    assert registered() == ["fdbpl-birds-fdbpl", "fdbpl-cars-fdbpl"]
    fdbpl = aliases()
    everything = ["fdbpl-birds-coop", "fdbpl-birds-fdbpl", "fdbpl-cars-coop", "fdbpl-cars-fdbpl"]
    assert registered("--register", "coop") == everything
    assert registered("--register", "fdbpl coop") == everything
    assert fdbpl.items() < aliases().items()
    seeds = {mlflow_client().get_run(run).data.tags["seed"] for run in aliases().values()}
    assert seeds == {"1"}


def test_a_run_half_written_by_a_kill_is_replaced(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_after: list[str] = []

    def killed(self: MlflowClient, run_id: str, *words: Any, **more: Any) -> None:
        if len(killed_after) == 3:
            raise KeyboardInterrupt
        killed_after.append(run_id)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", killed)
        with pytest.raises(KeyboardInterrupt):
            record()
    assert len(all_runs()) == 4
    assert record() == tracking.Counts(found=3, written=RUNS - 3, removed=1)
    runs = all_runs()
    assert len({run.data.tags["fdbpl.key"] for run in runs}) == len(runs) == RUNS
    assert all(tracking.COMPLETE in run.data.tags for run in runs)


def retrain(work: Workspace, draw: str) -> None:
    """Learn birds again with other outcome, and compare."""
    params = workspace_params(Path(), DATASETS, **TINY)
    train(params, "birds", work, draw)
    run_stage("evaluate", params, work, "birds")
    run_stage("compare", params, work, None)


def test_the_mark_and_the_alias_follow_the_outputs(work: Workspace) -> None:
    record()
    first, keys = aliases(), current()
    retrain(work, "again")
    assert record().written == 2 * 2 + 3
    moved = {name for name, run in aliases().items() if first[name] != run}
    assert moved == {"fdbpl-birds-coop", "fdbpl-birds-fdbpl"}
    assert len(current()) == RUNS
    retrain(work, "")
    assert record().written == 0
    assert aliases() == first
    assert current() == keys


def test_a_retrained_workspace_by_hand_keeps_to_its_own_experiment(
    work: Workspace, tmp_path: Path
) -> None:
    record()
    first = aliases()
    write_params(seeds=[2])  # of two that are there
    root = tmp_path / "runs/mine"
    evaluated_workspace(root, workspace_params(root, DATASETS, **TINY))
    done = CliRunner().invoke(main, ["record", "--run", "mine"], catch_exceptions=False)
    assert f"MLflow: {RUNS} runs written, 0 were there" in done.output
    assert mlflow_client().get_experiment_by_name("fdbpl runs/mine")
    assert len(all_runs()) == RUNS
    assert aliases() == first
