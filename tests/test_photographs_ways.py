"""How much of the way from the template to the teacher decisions go, by plain arithmetic."""

import pytest

from studies.photographs import teachers, ways
from studies.photographs.directions import MORE, TEACHER

SETS = ("pets", "birds")


def _found(**joint: float) -> dict[str, dict[str, dict[str, float]]]:
    """Return results by title, of two datasets that lie 10 apart."""
    return {
        title: {ways.MEASURE: dict(zip(SETS, (mean - 5, mean + 5), strict=True))}
        for title, mean in joint.items()
    }


ENDS = {ways.TEMPLATE: 40.0, TEACHER.title: 80.0}


@pytest.mark.parametrize(("reached", "share"), [(40, 0), (60, 50), (80, 100), (84, 110), (30, -25)])
def test_the_template_has_gone_nothing_and_the_teacher_all(reached: float, share: float) -> None:
    assert ways.share(_found(**ENDS, tried=reached), "tried") == pytest.approx(share)


def test_the_paragraph_about_pictures_lists_every_bridge_in_its_order() -> None:
    titles = [one.title for one in MORE]
    joint = {title: 60.0 + 4 * place for place, title in enumerate(titles)}
    text = ways.of_pictures(_found(**ENDS, **{ways.CHOSEN: 50.0}, **joint))
    assert "16 shots of base classes (the chosen) 25 %,\n" in text
    for place, title in enumerate(titles):
        assert f"\n{title} {50 + 10 * place} %" in text


def test_the_paragraph_about_teachers_compares_those_across_the_bridge() -> None:
    joint = {
        teachers.SECOND.title: 80.0,
        teachers.BOTH.title: 84.0,
        teachers.SECOND_ACROSS.title: 70.0,
        teachers.BOTH_ACROSS.title: 71.0,
        teachers.BY_AGREEMENT.title: 71.5,
        teachers.BY_DISAGREEMENT.title: 69.0,
    }
    text = ways.of_teachers(_found(**ENDS, **joint))
    assert f"{teachers.SECOND.title} 100 %,\n{teachers.BOTH.title} 110 %,\n" in text
    for gap in ("+1.00", "+0.50", "-2.00"):
        assert f"{gap} ({gap} to {gap})" in text
