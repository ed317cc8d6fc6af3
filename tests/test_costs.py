from pathlib import Path

import pytest
from workspaces import evaluated_workspace, train, workspace_params

from fdbpl.params import Params
from fdbpl.regions.plan import Plan
from fdbpl.results import costs
from fdbpl.results.costs import measure_costs
from fdbpl.workspace import Workspace


def test_every_trained_method_is_measured_apart_from_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = workspace_params(Path(), ["birds"])
    work = evaluated_workspace(Path(), params)  # a relative place, as on the command line
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    trained = []

    def stage(name: str, params: Params, place: Workspace, dataset: str) -> list[str]:
        assert Plan.load(place.plan(dataset)).digest == Plan.load(work.plan(dataset)).digest
        assert (place.cache(dataset, "teacher") / "manifest.json").exists()
        trained.append((name, *params.methods))
        train(params, dataset, place)
        return []

    monkeypatch.setattr(costs, "run_stage", stage)
    monkeypatch.setattr("fdbpl.clip.model.load_model", lambda *which: None)
    reports: list[tuple[int, int]] = []
    found = list(measure_costs(params, "birds", work, lambda *done: reports.append(done)))
    assert trained == [("train_student", "coop"), ("train_student", "fdbpl")]
    assert [one.method for one in found] == ["coop", "fdbpl"]
    assert [(one.learned, one.learned_real) for one in found] == [
        (sides * 4 * 8, sides * 4 * 512) for sides in (1, 2)
    ]
    assert all(one.seconds > 0 for one in found)
    assert reports == [(1, 2), (2, 2)]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
