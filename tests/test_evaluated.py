"""What was measured on a dataset is taken as it was written, and for that dataset alone."""

from pathlib import Path

import pytest
from harms import harms
from hypothesis import given, settings
from hypothesis import strategies as st
from workspaces import evaluated_workspace, workspace_params

from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.system.errors import UserError
from fdbpl.system.sealed import sealed_json, unsealed_json
from fdbpl.system.workspace import Workspace

DRAWN = ["pets", "ships"]


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return workspace_params(tmp_path_factory.mktemp("evaluated"), DRAWN)


@pytest.fixture(scope="module")
def work(params: Params) -> Workspace:
    root = Path(params.data.own["pets"].folder or "").parents[1]
    return evaluated_workspace(root / "runs" / "x", params)


@given(st.data())
@settings(max_examples=80)
def test_no_harm_goes_unnamed(params: Params, work: Workspace, drawn: st.DataObject) -> None:
    path = work.metrics("pets")
    whole = path.read_bytes()
    path.write_bytes(drawn.draw(harms(whole)))
    try:
        with pytest.raises(UserError) as error:
            read_record(params, "pets", work)
    finally:
        path.write_bytes(whole)
    said = str(error.value)
    assert said.startswith(f"{path}: damaged (")
    assert said.endswith("Run fdbpl evaluate pets --run x again.")
    assert "\n" not in said


def test_another_datasets_record_is_refused(params: Params, work: Workspace) -> None:
    """Be all that decides it the same, as with two drawn datasets."""
    path = work.metrics("pets")
    whole = path.read_bytes()
    path.write_bytes(sealed_json({**unsealed_json(whole), "dataset": "ships"}))
    with pytest.raises(UserError, match=r"of dataset 'ships', wanted 'pets'\. Run fdbpl evaluate"):
        read_record(params, "pets", work)
    path.write_bytes(whole)
    assert read_record(params, "pets", work).dataset == "pets"


def test_a_record_of_another_shape_is_named(params: Params, work: Workspace) -> None:
    path = work.metrics("pets")
    whole = path.read_bytes()
    path.write_bytes(sealed_json({**unsealed_json(whole), "plan": 3}))
    with pytest.raises(UserError, match=r"of another fdbpl \(plan: .*Run fdbpl evaluate pets"):
        read_record(params, "pets", work)
    path.write_bytes(whole)
