"""Worlds taken together, from small records in the stages' formats."""

from typing import Any

import numpy as np
import pytest
from result_records import DATASETS, LIFT, SEEDS, comparison, rejection, transfer

from fdbpl.errors import UserError
from fdbpl.results.standing import accuracies, aurocs, mean_of, transferred
from fdbpl.results.together import together
from fdbpl.results.world import World

WORLDS = [
    World("one", comparison(), transfer(), rejection()),
    World("two", comparison({**LIFT, "fdbpl": 7}), transfer({**LIFT, "fdbpl": 9}), rejection(60)),
]


def test_one_world_together_is_itself_but_for_the_names_of_seeds() -> None:
    joined = together(WORLDS[:1])
    assert joined.methods == list(LIFT)
    assert joined.datasets == list(DATASETS)
    assert joined.seeds == [f"one, {seed}" for seed in SEEDS]
    for method in LIFT:
        was = WORLDS[0].comparison["methods"][method]["datasets"]
        now = joined.comparison["methods"][method]["datasets"]
        for name in DATASETS:
            assert list(now[name]["seeds"].values()) == list(was[name]["seeds"].values())


@pytest.mark.parametrize("measure", ["base", "new", "h"])
def test_a_mean_over_all_is_the_mean_of_the_worlds(measure: str) -> None:
    tables = [
        accuracies(one.comparison, "fdbpl", DATASETS, measure)
        for one in (*WORLDS, together(WORLDS))
    ]
    first, second, joined = (mean_of(table or {}) for table in tables)
    assert joined == pytest.approx((first + second) / 2)


def test_transfers_and_rejections_are_joined_alike() -> None:
    joined = together(WORLDS)
    found = [
        mean_of(transferred(one.transfer or {}, "fdbpl", ["icons", "flowers"]))
        for one in (*WORLDS, joined)
    ]
    assert found[2] == pytest.approx(np.mean(found[:2]))
    assert (joined.transfer or {})["targets"] == transfer()["targets"]
    record = joined.rejection or {}
    table = aurocs(record, "fdbpl", "combined", "new-class", DATASETS) or {}
    assert mean_of(table) == pytest.approx(70)
    assert all(len(runs) == 2 * len(SEEDS) for runs in table.values())
    assert "textures" not in record["methods"]["fdbpl"]["scores"]["combined"]["empty"]["datasets"]


def test_only_what_all_have_is_kept() -> None:
    few = World("few", comparison({"coop": 1, "fdbpl": 2}, datasets=DATASETS[1:]), None, None)
    joined = together([*WORLDS, few])
    assert joined.methods == ["coop", "fdbpl"]
    assert joined.datasets == list(DATASETS[1:])
    assert (joined.transfer, joined.rejection) == (None, None)


def test_a_world_twice_is_refused() -> None:
    with pytest.raises(UserError, match="--also one stands twice"):
        together([WORLDS[0], WORLDS[1], WORLDS[0]])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"source": "icons"}, "other: transfers from icons, wanted objects as in one"),
        (
            {"targets": {**transfer()["targets"], "icons": {"kind": "shifted"}}},
            "other: icons is shifted, wanted cross-dataset as in one",
        ),
    ],
)
def test_transfers_of_unlike_kinds_are_not_averaged(changed: dict[str, Any], says: str) -> None:
    other = World("other", comparison(), {**transfer(), **changed}, None)
    with pytest.raises(UserError, match=says):
        together([WORLDS[0], other])
