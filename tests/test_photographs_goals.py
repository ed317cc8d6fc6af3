"""What was wanted of our method: each goal holds or not by the figures it is about."""

from collections.abc import Mapping
from typing import Any

import pytest

from studies.measures import Measures
from studies.photographs.goals import Goal, goals, goals_section

DATASETS = ("a", "b", "c", "d")
NOISE = dict(zip(DATASETS, (-0.2, 0.1, 0.0, 0.1), strict=True))
LEVELS = {
    **{"zero_shot": 40.0, "kdpl": 41.0, "gda": 50.0, "template_bridge": 60.0},
    **{"fdbpl": 62.0, "teacher": 66.0},
}


def measures(source: str, **changes: float) -> Measures:
    """Figures about a level for each method, ours with noise."""
    cells = {
        method: {name: level + NOISE[name] * (method == "fdbpl") for name in DATASETS}
        for method, level in {**LEVELS, **changes}.items()
    }
    halves = ("base", "new", "joint base", "joint new")
    shifted = {
        method: {f"{source}-{name}": one for name, one in cell.items()}
        for method, cell in cells.items()
    }
    return Measures(source, {**dict.fromkeys(halves, cells), "shifted": shifted})


def detected(auroc: float, fpr95: float) -> Mapping[str, Any]:
    def scores(a: float, f: float) -> Mapping[str, Any]:
        cells = {name: {"auroc": a + NOISE[name], "fpr95": f + NOISE[name]} for name in DATASETS}
        return {"scores": {"energy": {"far": {"datasets": cells}}}}

    flat = {name: {"auroc": 80.0, "fpr95": 50.0} for name in DATASETS}
    return {
        "fdbpl": scores(auroc, fpr95),
        "zero_shot": {"scores": {"energy": {"far": {"datasets": flat}}}},
    }


def judged(ood: Mapping[str, Any] | None = None, **changes: float) -> dict[str, Goal]:
    found = goals(measures("a", **changes), measures("b", **changes), ood or {})
    return {one.what: one for one in found}


def the(found: Mapping[str, Goal], word: str) -> Goal:
    (one,) = [goal for what, goal in found.items() if word in what]
    return one


def test_all_hold_where_ours_is_ahead() -> None:
    found = judged(detected(85, 45))
    assert all(one.holds for one in found.values())
    assert len(found) == 8
    way = the(found, "of the way")
    assert way.found == f"{100 * (62 - 40) / (66 - 40):.0f} %"
    assert "8 shifted versions of a and b" in "".join(found)
    assert the(found, "without labels").found.startswith("+21.00")  # against KDPL, the best


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kdpl": 63.0}, "without labels"),
        ({"gda": 63.0}, "GDA"),
        ({"teacher": 80.0}, "of the way"),
        ({"template_bridge": 61.5}, "contexts' part"),
        ({"template_bridge": 63.0}, "contexts' part"),
    ],
)
def test_one_fails_where_its_rival_is_better(changes: dict[str, float], word: str) -> None:
    found = judged(**changes)
    assert [what for what, one in found.items() if not one.holds] == [the(found, word).what]


def test_the_template_ahead_fails_all_that_is_about_it() -> None:
    found = judged(zero_shot=63.0)
    failed = {what for what, one in found.items() if not one.holds}
    for word in ("without labels", "of the way", "new classes", "shifted"):
        assert the(found, word).what in failed


@pytest.mark.parametrize("auroc", [79.0, 80.0, 81.0])
def test_rejecting_is_judged_by_both_measures(auroc: float) -> None:
    found = judged(detected(auroc, 130 - auroc))
    assert the(found, "AUROC").holds == (auroc > 80)
    assert the(found, "FPR95").holds == (auroc > 80)


def test_what_was_not_measured_is_not_spoken_of() -> None:
    assert not [*goals(Measures(None, {}), None, {})]
    assert len(judged()) == 6


def test_the_table_says_why_a_goal_is_missed() -> None:
    table, why = goals_section(measures("a", template_bridge=63.0), None, detected(79, 51))
    lines = table.splitlines()
    assert len(lines) == 2 + 8
    assert sum(line.endswith(" no |") for line in lines) == 3
    assert why.count("\n") == 1  # one of contexts, one of both far measures
    assert "trials.md#contexts" in why
    (table,) = goals_section(measures("a"), None, {})
    assert " no |" not in table


def test_it_is_said_where_two_sources_were_put_together() -> None:
    _, notes = goals_section(measures("a"), measures("b"), {})
    assert "put together after" in notes
