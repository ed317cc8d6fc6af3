"""Whether the pair is as CLIP is: a student that a context has something to teach, and a teacher.

None of it knows of our own method.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fdbpl.reporting.tables import markdown

JUDGED = ("zero_shot", "teacher", "coop")
"""The methods that criteria are about."""
AVERAGE = (35.0, 65.0)
"""Wanted of the student's zero-shot accuracy over all classes, in per cent."""
AHEAD, TAUGHT = 8.0, 9
"""Points that the teacher shall be better by, on base and on new; of how many datasets."""
GAIN, GAINING, LOSING = 5.0, 6, 6
"""Points that CoOp shall gain on base; on how many datasets; on how many it shall lose on new."""


@dataclass(frozen=True)
class Criterion:
    """What was wanted of the pair, and what was found."""

    what: str
    wanted: str
    found: str
    holds: bool


def criteria(records: Iterable[Mapping[str, Any]]) -> list[Criterion]:
    """Judge a pair by what compare.json holds under `methods`, of all its datasets.

    Where CoOp was not learned on all, nothing is said of it.
    """
    listed = list(records)
    found = {
        method: {name: cell for one in listed for name, cell in one[method]["datasets"].items()}
        for method in JUDGED
        if all(method in one for one in listed)
    }
    zero_shot, teacher = found["zero_shot"], found["teacher"]
    average = fmean(
        fmean(cell["joint"][half] for half in ("base", "new")) for cell in zero_shot.values()
    )
    count = len(zero_shot)
    better = {
        half: {name for name in zero_shot if teacher[name][half] - zero_shot[name][half] >= AHEAD}
        for half in ("base", "new")
    }
    taught = len(better["base"] & better["new"])
    low, high = AVERAGE
    return [
        Criterion(
            "student's zero-shot accuracy, all classes, average",
            f"{low:g} to {high:g} %",
            f"{average:.1f} %",
            low <= average <= high,
        ),
        Criterion(
            f"datasets whose base and new the teacher knows better by {AHEAD:g} points",
            f"{TAUGHT} of {count}",
            str(taught),
            taught >= TAUGHT,
        ),
        *(_of_coop(zero_shot, found["coop"]) if "coop" in found else ()),
    ]


def _of_coop(zero_shot: Mapping[str, Any], coop: Mapping[str, Any]) -> tuple[Criterion, Criterion]:
    """Judge by the cells of all datasets whether a context gains on base and loses on new."""
    count = len(zero_shot)
    gaining = sum(coop[name]["base"] - zero_shot[name]["base"] >= GAIN for name in zero_shot)
    losing = sum(coop[name]["new"] < zero_shot[name]["new"] for name in zero_shot)
    return (
        Criterion(
            f"datasets on whose base CoOp gains {GAIN:g} points",
            f"{GAINING} of {count}",
            str(gaining),
            gaining >= GAINING,
        ),
        Criterion(
            "datasets on whose new CoOp loses",
            f"{LOSING} of {count}",
            str(losing),
            losing >= LOSING,
        ),
    )


def criteria_table(found: Iterable[Criterion]) -> str:
    """Return the criteria as a table."""
    rows = ((one.what, one.wanted, one.found, "yes" if one.holds else "no") for one in found)
    return markdown([("criterion", "wanted", "found", "holds"), *rows])
