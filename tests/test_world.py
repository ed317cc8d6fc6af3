"""Records read as a world, and worlds taken together."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from result_records import DATASETS, LIFT, comparison, ood, transfer
from test_results import parameters, written_to

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.results.world import World, read_world, together
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace


@pytest.fixture
def worlds(tmp_path: Path) -> list[World]:
    second = {
        "comparison": comparison({**LIFT, "fdbpl": 7}, datasets=DATASETS[::-1]),
        "transfer": transfer({**LIFT, "fdbpl": 9}),
        "ood": ood(60),
    }
    return [
        read_world(written_to(Workspace(tmp_path / "one"), parameters()), "one", parameters()),
        read_world(
            written_to(Workspace(tmp_path / "two"), parameters(), **second), "two", parameters()
        ),
    ]


def test_a_world_holds_the_means_of_its_records(worlds: list[World]) -> None:
    cells = comparison()["methods"]["fdbpl"]["datasets"]
    for measure in ("base", "new"):
        assert worlds[0].values(measure, "fdbpl") == {d: cells[d][measure] for d in DATASETS}
        joint = {d: cells[d]["joint"][measure] for d in DATASETS}
        assert worlds[0].values(f"joint {measure}", "fdbpl") == joint
    assert worlds[0].methods() == list(LIFT)
    assert worlds[0].datasets("shifted") == ["objects-hard"]
    assert worlds[0].datasets("energy mahalanobis, empty regions") == [
        "objects",
        "icons",
        "flowers",
    ]
    assert worlds[0].source == "objects"


@pytest.mark.parametrize("kind", ["", "joint "])
def test_the_mean_of_h_is_that_of_the_averages(worlds: list[World], kind: str) -> None:
    base, new = (worlds[0].mean(f"{kind}{half}", "kdpl") or 0 for half in ("base", "new"))
    assert worlds[0].mean(f"{kind}H", "kdpl") == pytest.approx(harmonic_mean(base, new))
    one = worlds[0].only("flowers".__eq__)
    cell = comparison()["methods"]["kdpl"]["datasets"]["flowers"]
    assert one.mean(f"{kind}H", "kdpl") == pytest.approx((cell["joint"] if kind else cell)["h"])


def test_differences_are_paired_by_dataset_whatever_the_order(worlds: list[World]) -> None:
    for measure in ("base", "H", "cross-dataset"):
        found = worlds[1].difference((measure, "fdbpl"), (measure, "kdpl"))
        reversed_pairs = worlds[1].difference((measure, "kdpl"), (measure, "fdbpl"))
        assert found
        assert reversed_pairs
        assert found.mean == pytest.approx(-reversed_pairs.mean)
        assert found.low == pytest.approx(-reversed_pairs.high)
    assert worlds[0].difference(("base", "fdbpl"), ("base", "nobody")) is None
    assert worlds[0].difference(("H", "nobody"), ("H", "fdbpl")) is None
    assert worlds[0].mean("H", "nobody") is None


def test_one_world_together_is_itself(worlds: list[World]) -> None:
    assert together(worlds[:1]) == worlds[0]


@pytest.mark.parametrize(
    "measure", ["base", "joint new", "cross-dataset", "shifted", "energy mahalanobis, near OOD"]
)
def test_of_several_every_dataset_is_the_mean(worlds: list[World], measure: str) -> None:
    joined = together(worlds)
    first, second = (world.values(measure, "fdbpl") for world in worlds)
    found = joined.values(measure, "fdbpl")
    assert found == {name: fmean([first[name], second[name]]) for name in first}
    assert joined.datasets() == worlds[0].datasets()


def test_only_what_all_have_is_kept(worlds: list[World], tmp_path: Path) -> None:
    few = comparison({"coop": 1, "fdbpl": 2}, datasets=DATASETS[1:])
    work = written_to(
        Workspace(tmp_path / "few"), parameters(), comparison=few, transfer=None, ood=None
    )
    joined = together([*worlds, read_world(work, "few", parameters())])
    assert joined.methods() == ["coop", "fdbpl"]
    assert joined.datasets() == list(DATASETS[1:])
    assert joined.measures.keys() == {"base", "new", "joint base", "joint new"}


def test_transfers_from_several_sources_are_not_averaged(
    worlds: list[World], tmp_path: Path
) -> None:
    work = written_to(
        Workspace(tmp_path / "x"), parameters(), transfer={**transfer(), "source": "icons"}
    )
    with pytest.raises(UserError, match="transfers from icons, objects, wanted one source"):
        together([*worlds, read_world(work, "x", parameters())])


def without_joint() -> Any:
    record = comparison()
    for cell in record["methods"]["fdbpl"]["datasets"].values():
        del cell["joint"]
    return record


def test_what_is_not_there_or_damaged_names_the_command(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    with pytest.raises(UserError, match=r"compare\.json: nothing was compared\. Run fdbpl compare"):
        read_world(work, "w", parameters())
    written_to(work, parameters(), transfer=None, ood=None)
    assert read_world(work, "w", parameters()).source is None
    for name, place, text in (
        ("ood", work.ood("json"), "{"),
        ("transfer", work.transferred, '{"source": "objects"}'),
        ("compare", work.comparison("json"), json.dumps(without_joint())),
    ):
        place.write_text(text)
        with pytest.raises(UserError, match=rf"\.json: damaged or old .*Run .*{name} again"):
            read_world(work, "w", parameters())
