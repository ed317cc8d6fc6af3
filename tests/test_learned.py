"""What was learned is used under the parameters it was learned with, and under no others."""

from pathlib import Path
from typing import Any

import pytest
from test_planned import changed
from workspaces import carry, evaluated_workspace, prepare, train, workspace_params

from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.evaluate import measure
from fdbpl.stages.learned import open_learned
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

OPTIONS = {"fdbpl": {"mutual_weight": 0.5}}


@pytest.fixture
def params(tmp_path: Path) -> Params:
    protocols = ["base-to-new", "transfer"]
    return workspace_params(tmp_path, ["pets", "ships"], protocols=protocols, objectives=OPTIONS)


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
