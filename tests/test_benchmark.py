import inspect
from pathlib import Path

import pytest
import yaml
from prefect.utilities.importtools import import_object
from workspaces import workspace_params

from fdbpl.settings.presets.preset import shipped
from fdbpl.system.errors import UserError
from flows.benchmark import _among, _final_state, benchmark
from flows.servers import POOL

PROJECT = Path(__file__).resolve().parents[1]


def test_a_run_chooses_among_what_params_list() -> None:
    assert _among("datasets", ["icons"], ["textures", "icons"]) == ["icons"]
    assert _among("seeds", None, [1, 2]) == [1, 2]
    with pytest.raises(UserError, match=r"methods: kdpl not in params.yaml, which lists coop"):
        _among("methods", ["kdpl"], ["coop"])


def test_the_final_state_says_what_happened(tmp_path: Path) -> None:
    params = workspace_params(tmp_path, ["birds", "cars", "boats"])
    failed = _final_state(params, ["birds", "cars"], {"cars": "no images"}, [])
    assert failed.is_failed()
    assert failed.message == "1 of 2 datasets failed: cars."
    waits = _final_state(params, ["birds"], {}, ["evaluate@boats", "prepare-crops@cars"])
    assert waits.is_completed()
    assert str(waits.message).endswith("not up to date: cars, boats.")
    done = _final_state(params, params.datasets, {}, [])
    assert done.message == "3 datasets done, all compared."


def test_deployments_fit_the_flow_and_their_schedules_are_off() -> None:
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    assert [one["name"] for one in deployments] == ["playground", "one-dataset", "eleven"]
    for one in deployments:
        assert import_object(one["entrypoint"]) is benchmark  # found wherever fdbpl is installed
        assert one["work_pool"] == {"name": POOL}
        assert [schedule["active"] for schedule in one["schedules"]] == [False]
        assert set(one["parameters"]) <= set(inspect.signature(benchmark.fn).parameters)
    listed = yaml.safe_load(shipped("eleven"))["datasets"]
    assert deployments[2]["parameters"]["datasets"] == listed
