"""An estimate against the build it is of; how long things take is never judged."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import draw_folder

from fdbpl.cache import open_cache
from fdbpl.cli import main
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import estimate as module
from fdbpl.stages import run_stage
from fdbpl.stages.estimate import estimate, trainings_of
from fdbpl.stages.prepare_crops import plan_of
from fdbpl.stages.tasks import Task, tasks_of
from fdbpl.system.workspace import Workspace

TINY = {
    "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
    "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
}
CLASSES = dict.fromkeys(("cat", "owl", "sea", "sky"), (4, 2))

READING = """
from fdbpl.methods.coop import CoOp


class Reading(CoOp):
    image_layer = 0

    def loss(self, tensors, batch, data):
        assert batch.require("pixels").shape[:2] == batch.labels.shape
        return super().loss(tensors, batch, data)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)  # batches of one view


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., Params]:
    """A function that returns parameters of two labelled datasets and one without labels."""
    names = tmp_path / "names.txt"
    names.write_text("cat\nowl\nsea\n")
    own: dict[str, dict[str, str]] = {
        name: {"folder": str(draw_folder(tmp_path / name, CLASSES))} for name in ("mine", "other")
    }
    own["bare"] = {"images": str(tmp_path / "mine" / "train"), "names": str(names)}

    def params(vocabulary: str | None = None, **changes: Any) -> Params:
        raw = {
            "datasets": ["mine"],
            "methods": ["zero_shot", "coop", "kdpl", "paper"],
            "seeds": [1, 2],
            "shots": 2,
            "regions": {"per_image": 3},
            "data": {"own": own, "vocabulary": vocabulary},
            "cache": {"store": str(tmp_path / "store"), "batch": 4},
            "train": {"epochs": 2, "batch": 2},
            "device": "cpu",
            **TINY,
        }
        return check_params({**raw, **changes})

    return params


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def vocabulary(tmp_path: Path) -> str:
    path = tmp_path / "words.txt"
    path.write_text("".join(f"thing {number}\n" for number in range(40)))
    return str(path)


def test_counts_are_those_of_the_build(given, work: Workspace) -> None:
    params = given(datasets=["mine", "other"], shifted=["other"], protocols=["transfer"])
    unplanned = estimate(params, work)
    for dataset in params.datasets:
        run_stage("prepare_crops", params, work, dataset)
    planned = estimate(params, work)
    lines = [
        line for name in params.datasets for line in run_stage("cache_teacher", params, work, name)
    ]
    built = estimate(params, work)
    plans = [Plan.load(work.plan(dataset)) for dataset in params.datasets]
    count = sum(len(plan.regions) + len(plan.test) for plan in plans)
    for role in ("teacher", "student"):
        assert [one[role].count for one in (unplanned, planned, built)] == [count] * 3
        told = " ".join(line for line in lines if role in line)
        encoded = sum(map(int, re.findall(r"encoded (\d+)", told)))
        assert [one[role].stored for one in (unplanned, planned, built)] == [
            0,
            count - encoded,  # the same in two caches
            count,
        ]
        assert built[role].seconds == 0
        assert built[role].bytes < planned[role].bytes < unplanned[role].bytes  # the store's gain
    assert len({one["training"].count for one in (unplanned, planned, built)}) == 1


@pytest.mark.parametrize("changes", [{"regions": {"per_image": 5}}, {"shots": "all"}])
def test_an_estimate_is_of_the_parameters_not_of_an_older_plan(
    given, work: Workspace, changes: dict[str, Any]
) -> None:
    run_stage("prepare_crops", given(), work, "mine")
    fresh = estimate(given(**changes), Workspace(work.root / "none"))["teacher"]
    assert estimate(given(**changes), work)["teacher"].count == fresh.count
    spoilt = Path(given().data.own["mine"].folder) / "train" / "cat" / "00.png"
    spoilt.write_bytes(b"")
    run_stage("prepare_crops", given(**changes), work, "mine")  # with an image less
    assert "1 of 1 plans are made" in estimate(given(**changes), work)["teacher"].note


def test_bytes_are_those_of_the_payload(given, work: Workspace) -> None:
    sizes = {
        payload: estimate(given(cache={"payload": payload}), work)["teacher"].bytes
        for payload in ("float32", "float16", "int8")
    }
    assert sizes["float32"] > sizes["float16"] > sizes["int8"]


def task(params: Params, dataset: str = "mine") -> Task:
    (only,) = tasks_of(params, plan_of(params, dataset, look=False))
    return only


def test_images_without_labels_need_no_plan(given, work: Workspace) -> None:
    params = given(datasets=["bare"])
    found = estimate(params, work)
    run_stage("prepare_crops", params, work, "bare")
    planned = estimate(params, work)
    for name, part in found.items():
        assert part.count == planned[name].count > 0
    assert [one.method.name for one in trainings_of(params, task(params, "bare"))] == [
        "kdpl",
        "paper",
    ]


def test_methods_that_train_alike_are_trained_once(given) -> None:
    params = given(methods=["coop_bridge", "kdpl", "coop_memory", "gda"])
    assert len(trainings_of(params, task(params))) == 2
    apart = given(methods=["fdbpl", "fdbpl_prompts"])
    assert len(trainings_of(apart, task(apart))) == 2


def test_what_takes_no_steps_is_no_training(given) -> None:
    params = given(methods=["zero_shot", "gda", "coop", "kdpl"])
    assert [one.method.name for one in trainings_of(params, task(params))] == ["coop", "kdpl"]


@pytest.mark.parametrize(("likeliest", "names"), [(1000, 40), (7, 7)])
def test_a_vocabulary_is_learned_from_by_its_likeliest_names(
    given, work: Workspace, vocabulary: str, likeliest: int, names: int
) -> None:
    train = {"epochs": 2, "batch": 3, "likeliest": likeliest}
    params = given(vocabulary=vocabulary, train=train)
    trainings = trainings_of(params, task(params))
    assert [one.method.name for one in trainings] == ["kdpl", "paper"]  # no labels in it
    assert [len(one.names) for one in trainings] == [names] * 2
    assert [one.steps for one in trainings] == [4] * 2  # eight images: two whole batches an epoch
    assert estimate(params, work)["training"].seconds > 0


def test_weights_that_are_not_here_are_not_fetched(
    given, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "open_clip.pretrained.get_pretrained_cfg",
        lambda _, weights: {"hf_hub": "nobody/nothing/"} if weights == "elsewhere" else {},
    )
    params = given(teacher={"architecture": "fdbpl-tiny-teacher", "weights": "elsewhere"})
    run_stage("prepare_crops", params, work, "mine")
    found = estimate(params, work)
    assert "elsewhere; not on this machine: random weights" in found["teacher"].note
    assert "1 of 1 plans are made" in found["student"].note


def test_pixels_of_regions_are_told_where_a_method_reads_them(
    given, work: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "reading.py").write_text(READING, encoding="utf-8")
    params = given(methods=["coop", f"{tmp_path / 'reading.py'}:Reading"])
    found = estimate(params, work)["pixels"]
    assert "pixels" not in estimate(given(), work)
    run_stage("prepare_crops", params, work, "mine")
    run_stage("cache_teacher", params, work, "mine")
    built = open_cache(work.cache("mine", "pixels"))
    assert found.count == sum(one.rows for one in built.manifest.tables.values())
    columns = [*built.columns("train").values(), *built.columns("test", "key", "pixels").values()]
    assert found.bytes == sum(values.nbytes for values in columns)
    assert found.seconds > 0


def test_nothing_to_learn_is_no_mistake(given, work: Workspace) -> None:
    assert estimate(given(methods=["zero_shot"]), work)["training"].count == 0


def test_the_command_prints_a_table_or_json(
    given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(given(datasets=["mine", "bare"]).model_dump_json())
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(main, ["estimate", "--params", str(path)])
    assert shown.exit_code == 0, shown.output
    assert [line.split(" ")[0] for line in shown.stdout.splitlines()][1:5] == [
        *("student", "teacher", "training", "in"),
    ]
    raw = CliRunner().invoke(main, ["estimate", "--params", str(path), "--json"])
    assert raw.exit_code == 0, raw.output
    assert set(json.loads(raw.stdout)["training"]) == {
        "count",
        "stored",
        "seconds",
        "bytes",
        "note",
    }
    path.write_text(given(datasets=["lost"]).model_dump_json())
    assert CliRunner().invoke(main, ["estimate", "--params", str(path)]).exit_code == 2
