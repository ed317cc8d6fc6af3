"""What was wanted of our method before any evidence was looked at, and what was found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fdbpl.evaluation.statistics import Interval, t_interval
from fdbpl.methods.bridged import Bridged
from fdbpl.methods.registry import METHODS, title_of
from fdbpl.reporting.ood_report import FAR, KIND_TITLES
from fdbpl.reporting.tables import markdown
from studies.contrasts import BARE, OURS, TEACHER, TEMPLATE
from studies.measures import Measures

LABELLED = "gda"
WAY = 75.0  # per cent from the template to the teacher
CONTEXTS = 1.0  # points

FEW_PICTURES = (
    "A bridge goes farther the more pictures it is fitted to: "
    "[trials](trials.md#more-unlabelled-pictures-and-of-all-classes-transductive) shows how far by "
    "how many."
)
NO_ROOM = (
    "No way of learning contexts beside the bridge gains anything beyond its interval on "
    "development sets: [trials](trials.md#contexts) lists all that were tried."
)
NO_ROOM_FAR = (
    "Of far OOD little is left to gain: on development sets the template alone is nearly without "
    "fault, and the teacher hardly better ([trials](trials.md#rejecting-and-negatives-of-names))."
)
TOGETHER = (
    "Shifted versions of both sources were put together after each source's had been looked at by "
    "itself; the summary above has the intervals over the four of each."
)


@dataclass(frozen=True)
class Goal:
    """One thing that was wanted.

    Attributes:
        what: is compared.
        wanted: in words.
        found: in numbers.
        holds: whether it is so.
        why: it cannot be met, where a measurement tells.
    """

    what: str
    wanted: str
    found: str
    holds: bool
    why: str = ""


def goals(evidence: Measures, second: Measures | None, ood: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield all goals of which something was measured.

    Args:
        evidence: of base to new and of transfer.
        second: of a transfer from another source.
        ood: what the record of OOD detection has by method.
    """
    yield from _label_free(evidence)
    if gap := evidence.difference(("H", OURS), ("H", LABELLED)):
        yield _above(f"{title_of(OURS)} against {title_of(LABELLED)}, in H", gap, at_least=True)
    yield from _way(evidence)
    yield from _new(evidence)
    yield from _shifted(evidence, second)
    if gap := evidence.difference(("joint H", OURS), ("joint H", BARE)):
        holds = gap.sign > 0 and gap.mean >= CONTEXTS
        wanted = f"at least +{CONTEXTS:g}, above 0"
        yield Goal(
            f"contexts' part: {title_of(OURS)} against {title_of(BARE)}, in joint H",
            wanted, str(gap), holds, NO_ROOM,
        )  # fmt: skip
    yield from _rejecting(ood)


def goals_section(
    evidence: Measures, second: Measures | None, ood: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the goals as a table, then what is to be known of them, and why some are missed."""
    found = [*goals(evidence, second, ood)]
    rows = [(one.what, one.wanted, one.found, "yes" if one.holds else "no") for one in found]
    yield markdown([("goal", "wanted", "found", "holds"), *rows])
    notes = dict.fromkeys(one.why for one in found if one.why and not one.holds)
    if second is not None:
        notes = {TOGETHER: None, **notes}
    if notes:
        yield "\n".join(f"- {one}" for one in notes)


def _label_free(evidence: Measures) -> Iterator[Goal]:
    """Yield the least that ours is ahead of methods without labels, of all if it is of each."""
    gaps = [
        gap
        for name in evidence.methods()
        if name in METHODS and name != TEACHER
        if not METHODS[name].labelled and not isinstance(METHODS[name], Bridged)
        if (gap := evidence.difference(("joint H", OURS), ("joint H", name)))
    ]
    if gaps:
        least = min(gaps, key=lambda gap: gap.mean)
        what = (
            f"{title_of(OURS)} against each of {len(gaps)} methods without labels and without a "
            "bridge, in joint H; the least difference"
        )
        yield Goal(what, "each above 0", str(least), all(gap.sign > 0 for gap in gaps))


def _above(what: str, gap: Interval, *, at_least: bool = False) -> Goal:
    wanted = "not below" if at_least else "above 0"
    return Goal(what, wanted, str(gap), gap.sign >= 0 if at_least else gap.sign > 0)


def _way(evidence: Measures) -> Iterator[Goal]:
    """Yield how far from the template to the teacher ours goes."""
    start, found, end = (evidence.mean("joint H", one) for one in (TEMPLATE, OURS, TEACHER))
    if start is not None and found is not None and end is not None:
        way = 100 * (found - start) / (end - start)
        what = f"of the way from {title_of(TEMPLATE)} to the teacher, in joint H"
        yield Goal(what, f"{WAY:g} %", f"{way:.0f} %", way >= WAY, FEW_PICTURES)


def _new(evidence: Measures) -> Iterator[Goal]:
    """Yield on how many datasets new classes are not told worse than by the template."""
    found, start = (evidence.values("new", one) for one in (OURS, TEMPLATE))
    if found and start:
        kept = sum(found[name] >= start[name] for name in found)
        what = f"datasets on whose new classes {title_of(OURS)} is not below {title_of(TEMPLATE)}"
        yield Goal(what, f"all {len(found)}", str(kept), kept == len(found))


def _shifted(evidence: Measures, second: Measures | None) -> Iterator[Goal]:
    """Yield how ours does on all shifted versions, whichever dataset was learned on."""
    parts = [one for one in (evidence, second) if one is not None]
    gaps: list[float] = []
    for one in parts:
        ours, theirs = (one.values("shifted", method) for method in (OURS, TEMPLATE))
        gaps += [ours[name] - theirs[name] for name in ours if name in theirs]
    if gaps:
        sources = " and ".join(str(one.source) for one in parts)
        yield _above(
            f"{title_of(OURS)} against {title_of(TEMPLATE)} on {len(gaps)} shifted versions of "
            f"{sources}",
            t_interval(gaps),
        )


def _rejecting(ood: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield how ours tells what is none of its classes, by energy, against the template's."""
    if OURS not in ood or TEMPLATE not in ood:
        return
    ours, theirs = (ood[one]["scores"]["energy"] for one in (OURS, TEMPLATE))
    for kind, title in KIND_TITLES.items():
        if kind not in ours:
            continue
        why = NO_ROOM_FAR if kind == FAR else ""
        for measure, name, sign in (("auroc", "AUROC", 1), ("fpr95", "FPR95", -1)):
            cells = (one[kind]["datasets"] for one in (ours, theirs))
            mine, other = ({key: of[measure] for key, of in one.items()} for one in cells)
            gap = t_interval([mine[key] - other[key] for key in mine])
            wanted = "above 0" if sign > 0 else "below 0"
            what = f"{name}, {title}: energy of {title_of(OURS)} against {title_of(TEMPLATE)}'s"
            yield Goal(what, wanted, str(gap), gap.sign == sign, why)
