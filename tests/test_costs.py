from pathlib import Path

import pytest
from workspaces import evaluated_workspace, train, workspace_params

from fdbpl.regions.plan import Plan
from fdbpl.reporting.tables import TITLES
from fdbpl.results import costs
from fdbpl.results.costs import costs_table
from fdbpl.settings.params import Params
from fdbpl.system.workspace import Workspace


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
    table = costs_table(params, "birds", work, lambda *done: reports.append(done))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[-2:]]
    assert trained == [("train_student", "coop"), ("train_student", "fdbpl")]
    assert [row[:3] for row in rows] == [
        [TITLES[method], str(sides * 4 * 8), f"{sides * 4 * 512:,}"]
        for method, sides in (("coop", 1), ("fdbpl", 2))
    ]
    assert "2 seeds on birds" in table
    assert reports == [(1, 2), (2, 2)]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
