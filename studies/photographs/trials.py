"""What was tried on development photographs, into docs/trials.md.

Pictures are seen whole, so a trial takes seconds where a run of the pipeline takes minutes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fdbpl.classify.decision import Decision
from fdbpl.methods.bridged import OF_SOURCE_TOO, RIDGE, SHARE, Bridged, HiddenBridge
from fdbpl.methods.method import Method
from fdbpl.methods.params import TrainParams
from fdbpl.methods.region_pairs import SourceRegions
from fdbpl.methods.registry import find_method
from fdbpl.reporting.tables import markdown
from fdbpl.training.learning import Learned, classifier, learn_method, region_pairs, training_data
from studies.photographs import directions, steps, teachers, ways
from studies.photographs.development import MEASURES, Case, cases, difference
from studies.photographs.pair import Floats, Pair, Photos, Say
from studies.photographs.parts import DATASETS, DEVELOPMENT, EVIDENCE
from studies.photographs.rejecting import rejection_table

SCHEDULE = TrainParams(lr=0.01, epochs=25, batch=32)
TEMPLATE = find_method("zero_shot")
MEANS = ("hidden_mean", "feature_mean")


class Tried(Protocol):
    """A decision that is tried: its name in the table, and the logits (T, C) of test pictures."""

    @property
    def title(self) -> str:
        """What the table calls it."""

    def logits(self, case: Case) -> Floats:
        """Return those of the case's test pictures for all its classes."""


@dataclass(frozen=True)
class Trial:
    """A method of the package, learned as the pipeline does.

    Attributes:
        title: as the table calls it.
        method: that is learned.
        others: "shots" of the source, or so many pictures of all other datasets' training parts.
        hidden: whether the student's features are those before its projection.
        uncentred: which of the means are left where they were.
        afterwards: whether the bridge comes to contexts that were learned without it.
    """

    title: str
    method: Method
    others: str | int = "shots"
    hidden: bool = True
    uncentred: tuple[str, ...] = ()
    afterwards: bool = False

    def logits(self, case: Case) -> Floats:
        """Return those of the case's test pictures for all its classes."""
        decision = self.decision(case)
        shown = case.test.hidden if decision.sees == "hidden" else case.test.student
        return decision.logits(shown, np.concatenate(case.halves))

    def decision(self, case: Case) -> Decision:
        """Return what decides between all classes."""
        method, given = self.method, self.learned(case, self.method)
        if self.afterwards and isinstance(method, Bridged):
            inner = self.learned(case, method.inner)
            given = replace(given, arrays={**given.arrays, **inner.arrays})
        cleared = {name: 0 * given.arrays[name] for name in self.uncentred}
        given = replace(given, arrays={**given.arrays, **cleared})
        names, template = case.pair.names[case.dataset], DATASETS[case.dataset].template
        return classifier(case.pair.student, given, names, template, case.text("teacher"))

    def learned(self, case: Case, method: Method) -> Learned:
        """Return what a method learns from the seed's shots of the base classes."""
        pair, own, base = case.pair, case.own, case.halves[0]
        data = training_data(
            pair.student,
            [pair.names[case.dataset][label] for label in base],
            student=self._shown(own) if method.sees == "hidden" else own.student,
            teacher=own.teacher,
            teacher_vectors=case.text("teacher")[base],
            teacher_scale=pair.teacher.logit_scale,
            labels=np.searchsorted(base, own.labels),
            anchors=case.text("student")[base],
            picks={case.seed: np.arange(len(own.labels))},
            params=SCHEDULE,
            sees=method.sees,
            takes_projected=method.takes_projected,
            source=self.source(case),
        )
        return learn_method(method, data, SCHEDULE)[case.seed]

    def source(self, case: Case) -> SourceRegions:
        """Return what is known of other datasets' training pictures, without labels."""
        found = case.source
        if self.others != "shots":
            drawn = np.random.default_rng(case.seed).permutation(len(case.others.labels))
            found = case.others.of(np.sort(drawn[: int(self.others)]))
        shown = self._shown(found)
        pairs = region_pairs(shown, found.teacher, None, 1, torch.device("cpu"))
        return SourceRegions(lambda: (pairs, np.arange(len(shown))), "tried")

    def _shown(self, photos: Photos) -> Floats:
        return photos.hidden if self.hidden else photos.student


def bridged(
    bridge: HiddenBridge = OF_SOURCE_TOO, share: float = SHARE, inner: Method = TEMPLATE
) -> Bridged:
    """Return a method with such a bridge."""
    return Bridged("tried", "tried", inner, bridge, share)


def of_others(weight: float, ridge: float = RIDGE) -> Bridged:
    """Return the template with a bridge of others' pictures, so heavy beside the own."""
    return bridged(HiddenBridge(ridge, weight))


KDPL, OURS = find_method("kdpl"), find_method("fdbpl_prompts")
CHOSEN = Trial(ways.CHOSEN, bridged())
MORE, TEACHERS = "More unlabelled pictures, and of all classes (transductive)", "Several teachers"
TRIALS: Mapping[str, Sequence[Tried]] = {
    "The bridge": (
        Trial(ways.TEMPLATE, TEMPLATE),
        directions.TEACHER,
        Trial("own pictures alone", bridged(HiddenBridge())),
        Trial("from f, after the projection", bridged(), hidden=False),
        Trial("only the template centred", bridged(), uncentred=MEANS[:1]),
        Trial("only the bridge centred", bridged(), uncentred=MEANS[1:]),
        Trial("nothing centred", bridged(), uncentred=MEANS),
        *(Trial(f"share {share}", bridged(share=share)) for share in (0.5, 1.0, 3.0, 6.0)),
        *(Trial(f"ridge {ridge}", of_others(1.0, ridge)) for ridge in (0.03, 0.1, 1.0, 3.0)),
        *(Trial(f"the source weighs {weight}", of_others(weight)) for weight in (0.3, 3.0, 10.0)),
    ),
    "What others' pictures add": tuple(
        Trial(f"{count:,} pictures of all ten others, ten times as heavy", of_others(10.0), count)
        for count in (300, 1000, 3000, 10000)
    ),
    "Contexts": (
        Trial("KDPL's context, on what the bridge leaves", bridged(inner=KDPL)),
        Trial("KDPL's context, learned without it", bridged(inner=KDPL), afterwards=True),
        Trial("our two contexts, on what the bridge leaves", bridged(inner=OURS)),
        Trial("our two contexts, learned without it", bridged(inner=OURS), afterwards=True),
        *steps.CONTEXTS,
    ),
    "Other maps": (*directions.MAPS, *steps.BY_STEPS),
    "Class means and memories": directions.CLASS_MEANS,
    MORE: directions.MORE,
    TEACHERS: teachers.TEACHERS,
}
"""What is tried, beside CHOSEN."""

NOTES: Mapping[str, Callable[[ways.Found], str]] = {
    MORE: ways.of_pictures,
    TEACHERS: ways.of_teachers,
}
"""What the sections of some trials end with, of what was found until then."""


def write_trials(photos: Path, out: Path, student: Path, docs: Path, about: str, say: Say) -> Path:
    """Try all that is listed, and write docs/trials.md."""
    pair = Pair(photos, out, student, say)
    path = docs / "trials.md"
    path.write_text(page(pair, about, say), encoding="utf-8")
    return path


def page(pair: Pair, about: str, say: Say) -> str:
    """Return docs/trials.md."""
    tried = cases(pair)
    chosen = results(tried, CHOSEN)
    found = {CHOSEN.title: chosen}
    heads = ("decision", *MEASURES, "joint H, less the chosen")
    parts = [INTRODUCTION.format(about=about, source=EVIDENCE[0], sets=", ".join(DEVELOPMENT))]
    for title, trials in TRIALS.items():
        rows = [row(CHOSEN, chosen, chosen)]
        for trial in trials:
            found[trial.title] = results(tried, trial)
            rows.append(row(trial, found[trial.title], chosen))
            say(f"tried: {trial.title}, joint H {rows[-1][len(MEASURES)]}")
        parts += [f"## {title}", markdown([heads, *rows])]
        if title in NOTES:
            parts.append(NOTES[title](found))
    return "\n\n".join([*parts, *rejection_table(tried)]) + "\n"


INTRODUCTION = """\
# Trials

Written by `python -m studies.photographs --photos DIR --step trials` at {about}. No number here was
typed by hand.

What was tried on the development sets of [photographs](photographs.md) alone ({sets}):
how the [bridge](methods.md#the-bridge) was chosen, and which other directions were
left. 16 shots of base classes, seeds 11, 12 and 13, no label read; pictures are seen whole, where
the pipeline takes five regions of each. The source is {source}: its 16 shots of each class by the
three seeds. Per cent, averages over datasets and seeds; a difference has a 95 % t-interval over the
five datasets. `directions.py`, `steps.py` and `teachers.py` in `studies/photographs` have each
formula."""


def results(tried: Mapping[str, Sequence[Case]], trial: Tried) -> dict[str, dict[str, float]]:
    """Return each measure by dataset, a mean over seeds."""
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    for dataset, seeds in tried.items():
        of_seeds = [case.measured(trial.logits(case)) for case in seeds]
        for name in MEASURES:
            found[name][dataset] = float(np.mean([one[name] for one in of_seeds]))
    return found


def row(
    trial: Tried,
    found: Mapping[str, Mapping[str, float]],
    chosen: Mapping[str, Mapping[str, float]],
) -> tuple[str, ...]:
    """Return a trial's line of the table."""
    means = (f"{np.mean(list(found[name].values())):.2f}" for name in MEASURES)
    gap = "-" if trial is CHOSEN else difference(found["joint H"], chosen["joint H"])
    return (trial.title, *means, gap)
