"""Records read, and means and differences of what they hold."""

from pathlib import Path
from typing import Any

import pytest
from result_records import DATASETS, LIFT, comparison
from test_studies_results import parameters, written_to

from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.stages.summary import write_summary
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies.contrasts import Contrast, sentences
from studies.measures import Measures
from studies.records import read_measures


@pytest.fixture
def measures(tmp_path: Path) -> Measures:
    return read_measures(written_to(Workspace(tmp_path), parameters()), parameters())


def test_measures_are_the_means_of_the_records(measures: Measures) -> None:
    cells = comparison()["methods"]["fdbpl"]["datasets"]
    for measure in ("base", "new"):
        assert measures.values(measure, "fdbpl") == {d: cells[d][measure] for d in DATASETS}
        joint = {d: cells[d]["joint"][measure] for d in DATASETS}
        assert measures.values(f"joint {measure}", "fdbpl") == joint
    assert measures.methods() == list(LIFT)
    assert measures.datasets("shifted") == ["objects-hard"]
    with_empty = measures.datasets("energy + Mahalanobis, empty regions")
    assert with_empty == ["objects", "icons", "flowers"]
    assert measures.source == "objects"


@pytest.mark.parametrize("kind", ["", "joint "])
def test_the_mean_of_h_is_that_of_the_averages(measures: Measures, kind: str) -> None:
    base, new = (measures.mean(f"{kind}{half}", "kdpl") or 0 for half in ("base", "new"))
    assert measures.mean(f"{kind}H", "kdpl") == pytest.approx(harmonic_mean(base, new))
    one = measures.only("flowers".__eq__)
    cell = comparison()["methods"]["kdpl"]["datasets"]["flowers"]
    assert one.mean(f"{kind}H", "kdpl") == pytest.approx((cell["joint"] if kind else cell)["h"])


def test_differences_are_paired_by_dataset_whatever_the_order(measures: Measures) -> None:
    for measure in ("base", "H", "cross-dataset"):
        found = measures.difference((measure, "fdbpl"), (measure, "kdpl"))
        reversed_pairs = measures.difference((measure, "kdpl"), (measure, "fdbpl"))
        assert found
        assert reversed_pairs
        assert found.mean == pytest.approx(-reversed_pairs.mean)
        assert found.low == pytest.approx(-reversed_pairs.high)
    assert measures.difference(("base", "fdbpl"), ("base", "nobody")) is None
    assert measures.difference(("H", "nobody"), ("H", "fdbpl")) is None
    assert measures.mean("H", "nobody") is None


def without_joint() -> Any:
    record = comparison()
    for cell in record["methods"]["fdbpl"]["datasets"].values():
        del cell["joint"]
    return record


def test_what_is_not_there_or_damaged_names_the_command(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    with pytest.raises(UserError, match=r"compare\.json: nothing was compared\. Run fdbpl compare"):
        read_measures(work, parameters())
    written_to(work, parameters(), transfer=None, ood=None)
    assert read_measures(work, parameters()).source is None
    for name, place, record in (
        ("ood", work.ood, None),
        ("compare", work.comparison, comparison() | {"transfer": {}}),
        ("compare", work.comparison, without_joint()),
    ):
        write_summary(place, record or {}, "", b"")
        if record is None:
            place("json").write_text("{")
        with pytest.raises(UserError, match=rf"\.json: damaged .*Run .*{name} again"):
            read_measures(work, parameters())


@pytest.mark.parametrize(
    ("gaps", "says"),
    [
        ([1, 2, 30], "higher"),
        ([-1, -2, -30], "lower"),
        ([-1, 2, 30], ""),
        ([0, 2, 30], ""),
        ([3], ""),
    ],
)
def test_datasets_that_all_say_the_same_are_told(gaps: list[float], says: str) -> None:
    of = {"ours": {str(n): 50 + gap for n, gap in enumerate(gaps)}}
    theirs = {"theirs": {str(n): 50.0 for n, _ in enumerate(gaps)}}
    found = Measures("objects", {"shifted": {**of, **theirs}})
    pair = ("shifted", "ours"), ("shifted", "theirs")
    assert found.everywhere(*pair) == says
    told = sentences([Contrast("Ours against theirs", {"in shifted": pair})], found)
    assert (f"({says} on each of 3)" in told) == bool(says)
    halves = {half: {**of, **theirs} for half in ("base", "new")}
    assert Measures(None, halves).everywhere(("H", "ours"), ("H", "theirs")) == ""
