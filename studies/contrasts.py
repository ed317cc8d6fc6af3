"""What the summaries say: who is compared with whom, in sentences written from the figures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fdbpl.evaluation.statistics import Interval
from fdbpl.methods.registry import title_of
from fdbpl.reporting.ood_report import KIND_TITLES
from studies.measures import Measures, Of

OURS, TEMPLATE, BARE, OWN = "fdbpl", "zero_shot", "template_bridge", "template_own_bridge"
TEACHER = "teacher"
OTHER_CONTEXTS = ("coop_bridge", "kgcoop_bridge", "tcp_bridge", "kdpl_bridge")
WHOLE, TRANSFER = ("H", "joint H"), ("cross-dataset", "shifted")
EACH = (*WHOLE, "base", "new")
CONTRASTS = (
    *(("", OURS, rival, WHOLE) for rival in ("kdpl", "coop", "template_memory", TEMPLATE)),
    *(("", OURS, rival, ("H",)) for rival in ("gda", "gda_teacher")),  # `page.how` on joint H
    ("**Contexts' part**: ", OURS, BARE, EACH),
    ("**Bridge's part**: ", BARE, TEMPLATE, EACH),
    ("**Source's part**: ", BARE, OWN, EACH),
    *(("**Another context's part**: ", method, BARE, EACH) for method in OTHER_CONTEXTS),
    *(("**Transfer**: ", OURS, rival, TRANSFER) for rival in (TEMPLATE, BARE, *OTHER_CONTEXTS)),
)
"""What the summary says: what it is about, of whom, against whom, by which measures."""

COMPARED = {TEACHER, "zero_shot_ensemble", *(name for _, *pair, _ in CONTRASTS for name in pair)}
"""Methods that a summary speaks of, and two more that one wants to see beside them."""

WORDS = {1: "beats it", 0: "is not distinguishable from it", -1: "falls behind it"}
HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "not measured"
VERDICTS = (HOLDS, FAILS, UNKNOWN)


@dataclass(frozen=True)
class Contrast:
    """What one sentence says.

    Attributes:
        about: how it begins: of whom, against whom.
        pairs: ours and theirs, by what the sentence calls the measure.
    """

    about: str
    pairs: Mapping[str, tuple[Of, Of]]


def contrasts(measures: Measures) -> Iterator[Contrast]:
    """Yield what a summary says, then the same of every kind of OOD and every score."""
    for about, ours, theirs, names in CONTRASTS:
        pairs = {f"in {one}": ((one, ours), (one, theirs)) for one in names}
        yield Contrast(f"{about}{title_of(ours)} against {title_of(theirs)}", pairs)
    for kind in KIND_TITLES.values():
        energy = (f"energy, {kind}", TEMPLATE)
        pairs = {f"by {one}": ((f"{one}, {kind}", OURS), energy) for one in measures.scores()}
        about = f"**AUROC, {kind}**: {title_of(OURS)} against energy of {title_of(TEMPLATE)}"
        yield Contrast(about, pairs)


def way_to_teacher(measures: Measures) -> str:
    """Say how far the bridge's rows come from the template to the teacher, of the averages.

    Empty where one of them was not measured.
    """
    told = []
    for method in (OURS, BARE, OWN):
        parts = []
        for name in WHOLE:
            start, found, end = (measures.mean(name, one) for one in (TEMPLATE, method, TEACHER))
            if start is None or found is None or end is None:
                return ""
            parts.append(f"{100 * (found - start) / (end - start):.0f} % in {name}")
        told.append(f"{title_of(method)} {' and '.join(parts)}")
    return (
        f"- **Of the way from {title_of(TEMPLATE)} to its teacher** go, by the averages: "
        f"{'; '.join(told)}."
    )


def sentences(
    told: Iterable[Contrast], measures: Measures, photographs: Sequence[Measures] = ()
) -> str:
    """Return as a list who is ahead, or that nobody is; below each what photographs say of it."""
    lines = []
    for one in told:
        gaps = {name: measures.difference(*pair) for name, pair in one.pairs.items()}
        found = [
            (WORDS[gap.sign], f"{name} {gap}{_everywhere(measures, gap, one.pairs[name])}")
            for name, gap in gaps.items()
            if gap
        ]
        if found:
            lines.append(f"- {one.about}: {_grouped(found, WORDS.values())}.")
            if photographs:
                held = _grouped(verdicts(one, measures, photographs), VERDICTS)
                lines.append(f"  - On photographs: {held}.")
    return "\n".join(lines)


def _everywhere(measures: Measures, gap: Interval, pair: tuple[Of, Of]) -> str:
    """Say that all datasets agree, where their interval alone does not tell."""
    direction = measures.everywhere(*pair)
    return f" ({direction} on each of {gap.units})" if direction and not gap.sign else ""


def verdicts(
    one: Contrast, measures: Measures, photographs: Sequence[Measures]
) -> list[tuple[str, str]]:
    """Return for each figure of a sentence whether it holds on photographs, and theirs.

    It holds where both intervals lie on the same side of zero, or both about it. One dataset has
    no interval. Of several sources that photographs were transferred from, each answers.
    """
    found = []
    for name, pair in one.pairs.items():
        drawn = measures.difference(*pair)
        gaps = [(by.source, gap) for by in photographs if (gap := by.difference(*pair))]
        if drawn and not gaps:
            found.append((UNKNOWN, name))
        elif drawn:
            sources = [f" from {source}" if len(gaps) > 1 else "" for source, _ in gaps]
            found += [
                (_verdict(drawn, gap), f"{name}{source} {gap}")
                for source, (_, gap) in zip(sources, gaps, strict=True)
            ]
    return found


def _verdict(drawn: Interval, photographed: Interval) -> str:
    if photographed.units < 2:
        return UNKNOWN
    return HOLDS if drawn.sign == photographed.sign else FAILS


def _grouped(found: Sequence[tuple[str, str]], words: Iterable[str]) -> str:
    """Return what is said in the same word side by side, in the order of the words."""
    by_word = ((word, [what for said, what in found if said == word]) for word in words)
    return "; ".join(f"{word} {', '.join(what)}" for word, what in by_word if what)
