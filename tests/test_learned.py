"""What was learned is used under the parameters it was learned with, and under no others."""

from pathlib import Path
from typing import Any

import pytest
from test_planned import changed
from workspaces import carry, draw, evaluated_workspace, prepare, train, workspace_params

from fdbpl.artifact import Artifact
from fdbpl.errors import UserError
from fdbpl.methods.options import with_overrides
from fdbpl.params import Params
from fdbpl.regions.plan import Plan
from fdbpl.stages import run_stage
from fdbpl.stages.learned import open_learned
from fdbpl.stages.transfer import measure_transfer
from fdbpl.workspace import Workspace

OPTIONS = {"fdbpl": {"mutual_weight": 0.5}}


@pytest.fixture
def params(tmp_path: Path) -> Params:
    transfer = {"source": "pets", "targets": ["ships"]}
    return workspace_params(tmp_path, ["pets"], transfer=transfer, objectives=OPTIONS)


@pytest.fixture
def work(tmp_path: Path, params: Params) -> Workspace:
    return evaluated_workspace(tmp_path / "runs" / "x", params)


def as_trained(work: Workspace, params: Params) -> None:
    """Give the drawn files of fdbpl the options that training would have written."""
    options = with_overrides("fdbpl", params.objectives["fdbpl"]).model_dump()
    for place in (work, work.source):
        for kind in ("prompts", "classifier"):
            for seed in params.seeds:
                path = place.learned("pets", "fdbpl", seed, kind)
                found = Artifact.load(path, kind)
                Artifact(found.arrays, {**found.about, "options": options}).save(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"lr": 0.5}}, "learned with train.lr 0.002, wanted 0.5"),
        ({"train": {"epochs": 9}}, "learned with train.epochs 3, wanted 9"),
        (
            {"objectives": {"fdbpl": {"mutual_weight": 0.25}}},
            "learned with objectives.fdbpl.mutual_weight 0.5, wanted 0.25",
        ),
    ],
)
def test_stages_refuse_what_was_learned_otherwise(
    work: Workspace, params: Params, changes: dict[str, Any], says: str
) -> None:
    as_trained(work, params)
    for stage in ("evaluate", "rejection"):
        run_stage(stage, params, work, "pets" if stage == "evaluate" else None)
    assert params.transfer is not None
    measure_transfer(params, params.transfer, work, carry)

    other = changed(params, **changes)
    for stage in ("evaluate", "rejection"):
        with pytest.raises(UserError) as error:
            run_stage(stage, other, work, "pets" if stage == "evaluate" else None)
        assert says in str(error.value)
        assert str(error.value).endswith("Run fdbpl train-student pets --run x again.")
    with pytest.raises(UserError) as error:
        measure_transfer(other, params.transfer, work, carry)
    assert says in str(error.value)
    assert str(error.value).endswith("Run fdbpl train-transfer --run x again.")


def test_another_plan_and_a_missing_file_are_named(work: Workspace, params: Params) -> None:
    plan = Plan.load(work.plan("pets"))
    path = work.learned("pets", "coop", 1, "classifier")
    assert open_learned("classifier", params, plan, work, "coop", 1).about["seed"] == 1
    path.unlink()
    with pytest.raises(UserError, match=r"no such file\. Run fdbpl train-student pets --run x f"):
        open_learned("classifier", params, plan, work, "coop", 1)
    train(params, "pets", work)
    draw(params, "pets")
    fewer = changed(params, shots=1)
    prepare(fewer, "pets", work)
    with pytest.raises(UserError, match=r"learned under plan .* Run fdbpl train-student pets"):
        open_learned("classifier", fewer, Plan.load(work.plan("pets")), work, "coop", 1)
