"""A plan is used under the parameters that it was made with, and under no others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harms import harms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workspaces import draw, workspace_params

from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.made_with import of_plan
from fdbpl.stages.planned import load_planned
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

pairs = st.lists(st.floats(0.01, 1), min_size=2, max_size=2).map(sorted)
REGIONS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "per_image": st.integers(1, 65535),
        "scale": pairs,
        "ratio": pairs,
        "flip": st.floats(0, 1),
    },
)


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    folder = tmp_path_factory.mktemp("data")
    made = workspace_params(folder, ["pets"])
    draw(made, "pets")
    return made


@pytest.fixture(scope="module")
def work(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    place = Workspace(tmp_path_factory.mktemp("project") / "runs" / "x")
    run_stage("prepare_crops", params, place, "pets")
    return place


def changed(params: Params, **changes: Any) -> Params:
    raw = params.model_dump()
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) else value
    return Params.model_validate(raw)


@given(changes=REGIONS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_law_of_regions_is_named(params: Params, work: Workspace, changes) -> None:
    other = changed(params, regions=changes)
    keys = [k for k in changes if getattr(other.regions, k) != getattr(params.regions, k)]
    if not keys:
        load_planned(other, "pets", work)
        return
    with pytest.raises(UserError) as error:
        load_planned(other, "pets", work)
    assert any(f"made with regions.{key}" in str(error.value) for key in keys)
    assert str(error.value).endswith("Run fdbpl prepare-crops pets --run x again.")


@given(st.data(), st.sampled_from(["plan.json", "images.npy", "regions.npy"]))
@settings(max_examples=80)
def test_no_harm_goes_unnamed(params: Params, work: Workspace, drawn: Any, name: str) -> None:
    path = work.plan("pets") / name
    whole = path.read_bytes()
    path.write_bytes(drawn.draw(harms(whole)))
    try:
        with pytest.raises(UserError) as error:
            load_planned(params, "pets", work)
    finally:
        path.write_bytes(whole)
    assert str(error.value).startswith(str(work.plan("pets")))
    assert str(error.value).endswith("Run fdbpl prepare-crops pets --run x again.")


def test_another_datasets_plan_is_refused(params: Params, work: Workspace) -> None:
    """Be all that decides it the same, as with two drawn datasets."""
    drawn = {"datasets": ["icons", "vehicles"], "source": "icons"}
    both = changed(params, **drawn, protocols=["all-classes"])
    plan = Plan.load(work.plan("pets"))
    replace(plan, name="vehicles", made_with=of_plan(both, "vehicles")).save(work.plan("icons"))
    with pytest.raises(UserError, match=r"of dataset 'vehicles', wanted 'icons'\. Run fdbpl"):
        load_planned(both, "icons", work)


@pytest.mark.parametrize("seeds", [[3], [1, 2, 3], [2, 9]])
def test_seeds_that_were_not_planned_are_named(params: Params, work: Workspace, seeds) -> None:
    with pytest.raises(UserError, match=rf"made with seeds \[1, 2\], wanted {seeds[-1]} too"):
        load_planned(changed(params, seeds=seeds), "pets", work)
    for fewer in ([1], [2, 1]):
        load_planned(changed(params, seeds=fewer), "pets", work)


def test_tests_alone_serve_any_seeds_and_regions(params: Params, tmp_path: Path) -> None:
    alone = changed(params, protocols=["transfer"], datasets=["boats", "pets"], source="boats")
    place = Workspace(tmp_path)
    run_stage("prepare_crops", alone, place, "pets")
    other = changed(alone, seeds=[9], regions={"per_image": 7})
    assert load_planned(other, "pets", place).policy == {}
    with pytest.raises(UserError, match=r'made with protocols \[\], wanted "base-to-new" too'):
        load_planned(params, "pets", place)


def test_a_plan_for_more_protocols_serves(params: Params, tmp_path: Path) -> None:
    more, place = changed(params, protocols=["base-to-new", "all-classes"]), Workspace(tmp_path)
    run_stage("prepare_crops", more, place, "pets")
    assert load_planned(params, "pets", place).digest == load_planned(more, "pets", place).digest


@pytest.mark.parametrize("changes", [{"seeds": [1, 7]}, {"regions": {"per_image": 5}}])
@pytest.mark.parametrize("stage", ["cache_teacher", "train_student", "evaluate", "ood"])
def test_no_stage_takes_a_plan_of_other_parameters(
    params: Params, work: Workspace, stage: str, changes: dict[str, Any]
) -> None:
    dataset = None if stage == "ood" else "pets"
    with pytest.raises(UserError, match="Run fdbpl prepare-crops pets --run x again"):
        run_stage(stage, changed(params, **changes), work, dataset)
