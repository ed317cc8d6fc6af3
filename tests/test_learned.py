"""What was learned is used under the parameters it was learned with, and under no others."""

from pathlib import Path
from typing import Any

import pytest
from harms import harms
from hypothesis import given, settings
from hypothesis import strategies as st
from test_planned import changed
from workspaces import carry, evaluated_workspace, prepare, train, workspace_params

from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.evaluate import measure
from fdbpl.stages.learned import open_history, open_learned
from fdbpl.stages.tasks import Task, tasks_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

KINDS = ("prompts", "classifier", "history")
OPTIONS = {"fdbpl": {"mutual_weight": 0.5}}


def read(kind: str, params: Params, task: Task, work: Workspace, method: str, seed: int) -> None:
    """Read a file of one training."""
    if kind == "history":
        open_history(task, work, method, seed)
    else:
        open_learned(kind, params, task, work, method, seed)


def made_params(root: Path) -> Params:
    protocols = ["base-to-new", "transfer"]
    return workspace_params(root, ["pets", "ships"], protocols=protocols, objectives=OPTIONS)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Workspace]:
    root = tmp_path_factory.mktemp("learned")
    params = made_params(root)
    return params, evaluated_workspace(root / "runs" / "x", params)


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return made_params(tmp_path)


@pytest.fixture
def work(tmp_path: Path, params: Params) -> Workspace:
    return evaluated_workspace(tmp_path / "runs" / "x", params)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"lr": 0.5}}, "made with train.lr 0.002, wanted 0.5"),
        ({"train": {"epochs": 9}}, "made with train.epochs 3, wanted 9"),
        (
            {"objectives": {"fdbpl": {"mutual_weight": 0.25}}},
            "made with objectives.fdbpl.mutual_weight 0.5, wanted 0.25",
        ),
    ],
)
def test_stages_refuse_what_was_learned_otherwise(
    work: Workspace, params: Params, changes: dict[str, Any], says: str
) -> None:
    for stage in ("evaluate", "ood"):
        run_stage(stage, params, work, "pets" if stage == "evaluate" else None)
    measure(params, "ships", work, carry)

    other = changed(params, **changes)
    for stage in ("evaluate", "ood"):
        with pytest.raises(UserError) as error:
            run_stage(stage, other, work, "pets" if stage == "evaluate" else None)
        assert says in str(error.value)
        assert str(error.value).endswith("Run fdbpl train-student pets --run x again.")
    for dataset in params.datasets:  # the other's was learned here too
        with pytest.raises(UserError, match=says.split(",", maxsplit=1)[0]):
            measure(other, dataset, work, carry)


def test_another_plan_and_a_missing_file_are_named(work: Workspace, params: Params) -> None:
    task, _ = tasks_of(params, Plan.load(work.plan("pets")))
    path = work.learned("pets", "base-to-new", "coop", 1, "classifier")
    assert open_learned("classifier", params, task, work, "coop", 1).about["seed"] == 1
    path.unlink()
    with pytest.raises(UserError, match=r"no such file\. Run fdbpl train-student pets --run x f"):
        open_learned("classifier", params, task, work, "coop", 1)
    train(params, "pets", work)
    for picture in Path(params.data.own["pets"].folder).rglob("00.png"):
        picture.unlink()  # which no parameter says
    prepare(params, "pets", work)
    task, _ = tasks_of(params, Plan.load(work.plan("pets")))
    with pytest.raises(UserError, match=r"learned under plan .* Run fdbpl train-student pets"):
        open_learned("classifier", params, task, work, "coop", 1)


def test_no_file_of_a_training_is_taken_for_anothers(work: Workspace, params: Params) -> None:
    """Whatever is swapped: protocols, methods, seeds, datasets and kinds."""
    plans = {name: Plan.load(work.plan(name)) for name in params.datasets}
    trainings = [
        (task, method, seed)
        for plan in plans.values()
        for task in tasks_of(params, plan)
        for method in params.methods
        for seed in params.seeds
    ]
    for kind in KINDS:
        files = {
            work.learned(task.plan.name, task.folder, method, seed, kind): (task, method, seed)
            for task, method, seed in trainings
            if kind == "classifier" or params.method(method).learns
        }
        contents = {path: path.read_bytes() for path in files}
        assert len(set(contents.values())) == len(files) > 8
        for path, (task, method, seed) in files.items():
            for other, content in contents.items():
                path.write_bytes(content)
                if other == path:
                    read(kind, params, task, work, method, seed)
                    continue
                with pytest.raises(UserError) as error:
                    read(kind, params, task, work, method, seed)
                assert str(error.value).startswith(f"{path}: of ")
                again = f"Run fdbpl train-student {task.plan.name} --run x again."
                assert str(error.value).endswith(again)
            path.write_bytes(contents[path])


@given(st.data())
@settings(max_examples=80)
def test_no_harm_to_a_file_of_a_training_goes_unnamed(
    once: tuple[Params, Workspace], drawn: st.DataObject
) -> None:
    params, work = once
    kind = drawn.draw(st.sampled_from(KINDS))
    task, _ = tasks_of(params, Plan.load(work.plan("pets")))
    path = work.learned("pets", task.folder, "fdbpl", 2, kind)
    whole = path.read_bytes()
    path.write_bytes(drawn.draw(harms(whole)))
    try:
        with pytest.raises(UserError) as error:
            read(kind, params, task, work, "fdbpl", 2)
    finally:
        path.write_bytes(whole)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith("Run fdbpl train-student pets --run x again.")
    assert "\n" not in str(error.value)
