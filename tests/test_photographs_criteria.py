"""The pair's criteria: each is judged by its own numbers, at its own limit."""

from typing import Any

import pytest

from studies.photographs.criteria import criteria, criteria_table

NAMES = [f"set{number}" for number in range(11)]


def cell(base: float, new: float, joint: float = 0.0) -> dict[str, Any]:
    return {"base": base, "new": new, "joint": {"base": joint, "new": joint}}


def record(
    names: list[str], *, joint: float = 50, ahead: float = 8, gain: float = 5, lost: float = 1
) -> dict[str, Any]:
    cells = {
        "zero_shot": cell(50, 60, joint),
        "teacher": cell(50 + ahead, 60 + ahead),
        "coop": cell(50 + gain, 60 - lost),
    }
    return {method: {"datasets": dict.fromkeys(names, one)} for method, one in cells.items()}


def verdicts(*records: dict[str, Any]) -> list[bool]:
    return [one.holds for one in criteria(records)]


def test_a_pair_at_every_limit_holds_and_both_runs_count() -> None:
    assert verdicts(record(NAMES[:5]), record(NAMES[5:])) == [True] * 4
    found = criteria([record(NAMES[:5]), record(NAMES[5:])])
    assert [one.found for one in found] == ["50.0 %", "11", "11", "11"]


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({"joint": 34.9}, 0),
        ({"joint": 65.1}, 0),
        ({"ahead": 7.9}, 1),
        ({"gain": 4.9}, 2),
        ({"lost": 0}, 3),
    ],
)
def test_each_fails_by_its_own_number(change: dict[str, float], fails: int) -> None:
    assert verdicts(record(NAMES, **change)) == [at != fails for at in range(4)]


def test_it_is_counted_by_dataset() -> None:
    enough = criteria([record(NAMES[:6]), record(NAMES[6:], gain=0, lost=-1)])
    assert [one.holds for one in enough][2:] == [True, True]
    few = criteria([record(NAMES[:5]), record(NAMES[5:], gain=0, lost=-1)])
    assert [one.holds for one in few][2:] == [False, False]


def test_the_table_says_what_was_wanted_and_found() -> None:
    table = criteria_table(criteria([record(NAMES, joint=20)]))
    assert "35 to 65 %" in table
    assert "20.0 %" in table
    assert "no |" in table
