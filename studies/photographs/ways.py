"""How much of the way from the template to the teacher decisions go, in docs/trials.md."""

from collections.abc import Iterable, Mapping

import numpy as np

from studies.photographs import teachers
from studies.photographs.development import difference
from studies.photographs.directions import MORE, TEACHER, Direction

CHOSEN = "**chosen**: share 2, ridge 0.3, the source as heavy as the shots"
TEMPLATE = "the template alone"
MEASURE = "joint H"

Found = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By title of a decision: each measure by dataset."""


def share(found: Found, title: str) -> float:
    """Return 100 (a - t) / (T - t) of the average joint H a, the template's t and the teacher's T.

    The template has 0, the teacher 100.
    """
    reached, start, end = (
        np.mean(list(found[one][MEASURE].values())) for one in (title, TEMPLATE, TEACHER.title)
    )
    return float(100 * (reached - start) / (end - start))


def of_pictures(found: Found) -> str:
    """Return the paragraph about bridges fitted to other pictures."""
    return f"""\
Of the way in {MEASURE} from the template to the teacher itself, a bridge goes so far by what it is
fitted to beside the source:
16 shots of base classes (the chosen) {share(found, CHOSEN):.0f} %,
{_listed(found, MORE)}.
The last is fitted to the very pictures that it is tested on."""


def of_teachers(found: Found) -> str:
    """Return the paragraph about a second teacher."""
    mean, alone = teachers.BOTH_ACROSS, teachers.SECOND_ACROSS
    return f"""\
The second teacher is the packaged small student: the student's own image tower, and a text tower
that was told names as well as the teacher's. Its features are unit(h W2): it sees nothing in a
picture that h does not show, and all that the bridge's linear map cannot say of them is their
length. Of the way in {MEASURE} from the template to the first teacher,
{_listed(found, (teachers.SECOND, teachers.BOTH, alone, mean))}
are gone. In {MEASURE}, the mean across the bridge is
{_gap(found, mean, alone)} beside the second alone there; weights by agreement change the mean by
{_gap(found, teachers.BY_AGREEMENT, mean)}, by disagreement by
{_gap(found, teachers.BY_DISAGREEMENT, mean)}."""


def _listed(found: Found, tried: Iterable[Direction]) -> str:
    return ",\n".join(f"{one.title} {share(found, one.title):.0f} %" for one in tried)


def _gap(found: Found, one: Direction, other: Direction) -> str:
    return difference(found[one.title][MEASURE], found[other.title][MEASURE])
