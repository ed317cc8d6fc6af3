"""How the bridge was chosen: trials on development photographs, into docs/trials.md.

Pictures are seen whole, so a trial takes seconds where a run of the pipeline takes minutes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision, unit
from fdbpl.clip import small
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.projection import last_projection
from fdbpl.clip.vectors import template_vectors
from fdbpl.evaluation.accuracy import accuracy, harmonic_mean
from fdbpl.evaluation.statistics import t_interval
from fdbpl.methods.bridged import OF_SOURCE_TOO, RIDGE, SHARE, Bridged, HiddenBridge
from fdbpl.methods.method import Method
from fdbpl.methods.params import TrainParams
from fdbpl.methods.region_pairs import SourceRegions
from fdbpl.methods.registry import find_method
from fdbpl.reporting.tables import markdown
from fdbpl.training.learning import Learned, classifier, learn_method, region_pairs, training_data
from studies.photographs.features import features
from studies.photographs.parts import DATASETS, DEVELOPMENT, EVIDENCE, class_names, read_part

SEEDS, SHOTS = (11, 12, 13), 16
SCHEDULE = TrainParams(lr=0.01, epochs=25, batch=32)
MEASURES = ("base", "new", "H", "joint H")
TEMPLATE = find_method("zero_shot")
MEANS = ("hidden_mean", "feature_mean")

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Photos:
    """The pictures of a part of a dataset, as both models see them whole.

    Attributes:
        labels: (n,) by the order of the classes' folders.
        hidden: (n, H) the student's before its last projection.
        student: (n, D) the student's.
        teacher: (n, E) the teacher's.
    """

    labels: Ints
    hidden: Floats
    student: Floats
    teacher: Floats


class Pair:
    """The student of the study and its teacher, with what they see.

    Args:
        photos: where the tar files lie.
        out: holds all that is made.
        student: weights of the student.
        say: told of what was encoded.
    """

    def __init__(self, photos: Path, out: Path, student: Path, say: Say) -> None:
        """Load both models, and encode what was not encoded before."""
        name, of_teacher = small.MODELS
        own = ModelParams(architecture=name, weights=str(student), activation="gelu")
        self.student = load_model(own, "student")
        self.teacher = load_model(ModelParams(architecture=of_teacher, weights="small"), "teacher")
        self.names = {one: tuple(class_names(photos, one).values()) for one in DATASETS}
        self.seen = {part: self._seen(photos, part, out, say) for part in ("train", "test")}
        self.texts = {
            (one, of): template_vectors(clip, names, DATASETS[one].template)
            for one, names in self.names.items()
            for of, clip in (("student", self.student), ("teacher", self.teacher))
        }

    def _seen(self, photos: Path, part: str, out: Path, say: Say) -> dict[str, Photos]:
        """Return the pictures of a part by dataset."""
        hidden, before = (
            features(photos, part, model, out / "features", say) for model in small.MODELS
        )
        own, other = (last_projection(one).numpy() for one in (self.student, self.teacher))
        return {
            name: Photos(
                np.array([one.label for one in read_part(photos, name, part)]),
                hidden[name],
                unit(hidden[name] @ own),
                unit(before[name] @ other),
            )
            for name in DATASETS
        }


@dataclass(frozen=True)
class Trial:
    """One decision that is tried.

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


def bridged(
    bridge: HiddenBridge = OF_SOURCE_TOO, share: float = SHARE, inner: Method = TEMPLATE
) -> Bridged:
    """Return a method with such a bridge."""
    return Bridged("tried", "tried", inner, bridge, share)


def of_others(weight: float, ridge: float = RIDGE) -> Bridged:
    """Return the template with a bridge of others' pictures, so heavy beside the own."""
    return bridged(HiddenBridge(ridge, weight))


KDPL, OURS = find_method("kdpl"), find_method("fdbpl_prompts")
CHOSEN = Trial("**chosen**: share 2, ridge 0.3, the source as heavy as the shots", bridged())
TRIALS: Mapping[str, tuple[Trial, ...]] = {
    "The bridge": (
        Trial("the template alone", TEMPLATE),
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
    ),
}
"""What is tried, beside CHOSEN."""


@dataclass(frozen=True)
class Bench:
    """Learns and measures a trial on a dataset and seed of development."""

    pair: Pair
    dataset: str
    seed: int

    @cached_property
    def halves(self) -> tuple[Ints, Ints]:
        """The labels of base and new classes."""
        classes = np.arange(len(self.pair.names[self.dataset]))
        base = -(-len(classes) // 2)
        return classes[:base], classes[base:]

    def measured(self, trial: Trial) -> dict[str, float]:
        """Return base, new, H and joint H, in per cent."""
        test, (base, new) = self.pair.seen["test"][self.dataset], self.halves
        decision = self.decision(trial)
        shown = test.hidden if decision.sees == "hidden" else test.student
        every = np.arange(len(base) + len(new))

        def right(half: Ints, among: Ints) -> float:
            rows = np.isin(test.labels, half)
            return accuracy(shown[rows], test.labels[rows], decision, among.tolist())

        apart = [right(half, half) for half in (base, new)]
        joint = [right(half, every) for half in (base, new)]
        return dict(
            zip(MEASURES, [*apart, harmonic_mean(*apart), harmonic_mean(*joint)], strict=True)
        )

    def decision(self, trial: Trial) -> Decision:
        """Return what decides between all classes."""
        method, given = trial.method, self.learned(trial, trial.method)
        if trial.afterwards and isinstance(method, Bridged):
            inner = self.learned(trial, method.inner)
            given = replace(given, arrays={**given.arrays, **inner.arrays})
        cleared = {name: 0 * given.arrays[name] for name in trial.uncentred}
        given = replace(given, arrays={**given.arrays, **cleared})
        names, template = self.pair.names[self.dataset], DATASETS[self.dataset].template
        vectors = self.pair.texts[self.dataset, "teacher"]
        return classifier(self.pair.student, given, names, template, vectors)

    def learned(self, trial: Trial, method: Method) -> Learned:
        """Return what a method learns from the seed's shots of the base classes."""
        seen, (base, _) = self.pair.seen["train"][self.dataset], self.halves
        rows = shots(seen.labels, base, self.seed)
        names, before = self.pair.names[self.dataset], method.sees == "hidden"
        data = training_data(
            self.pair.student,
            [names[label] for label in base],
            student=(seen.hidden if trial.hidden and before else seen.student)[rows],
            teacher=seen.teacher[rows],
            teacher_vectors=self.pair.texts[self.dataset, "teacher"][base],
            teacher_scale=self.pair.teacher.logit_scale,
            labels=np.searchsorted(base, seen.labels[rows]),
            anchors=self.pair.texts[self.dataset, "student"][base],
            picks={self.seed: np.arange(len(rows))},
            params=SCHEDULE,
            sees=method.sees,
            takes_projected=method.takes_projected,
            source=self.others(trial),
        )
        return learn_method(method, data, SCHEDULE)[self.seed]

    def others(self, trial: Trial) -> SourceRegions:
        """Return what is known of other datasets' training pictures, without labels."""
        train = self.pair.seen["train"]
        source = train[EVIDENCE[0]]
        if trial.others == "shots":
            classes = np.unique(source.labels)
            picked = [shots(source.labels, classes, seed) for seed in SEEDS]
            found = [(source, np.unique(np.concatenate(picked)))]
        else:
            others = [one for name, one in train.items() if name != self.dataset]
            drawn = np.random.default_rng(self.seed).permutation(sum(len(o.labels) for o in others))
            taken = np.sort(drawn[: int(trial.others)])
            ends = np.cumsum([0, *(len(one.labels) for one in others)])
            found = [
                (one, taken[(start <= taken) & (taken < end)] - start)
                for one, (start, end) in zip(others, pairwise(ends), strict=True)
            ]
        student = np.concatenate(
            [(one.hidden if trial.hidden else one.student)[rows] for one, rows in found]
        )
        teacher = np.concatenate([one.teacher[rows] for one, rows in found])
        pairs = region_pairs(student, teacher, None, 1, torch.device("cpu"))
        return SourceRegions(lambda: (pairs, np.arange(len(student))), "tried")


def shots(labels: Ints, classes: Ints, seed: int) -> Ints:
    """Return the rows of a seed's shots of some classes, ascending."""
    drawn = np.random.default_rng(seed)
    picked = [drawn.permutation(np.flatnonzero(labels == one))[:SHOTS] for one in classes]
    return np.sort(np.concatenate(picked))


def write_trials(photos: Path, out: Path, student: Path, docs: Path, about: str, say: Say) -> Path:
    """Try all that is listed, and write docs/trials.md."""
    pair = Pair(photos, out, student, say)
    path = docs / "trials.md"
    path.write_text(page(pair, about, say), encoding="utf-8")
    return path


def page(pair: Pair, about: str, say: Say) -> str:
    """Return docs/trials.md."""
    chosen = results(pair, CHOSEN)
    heads = ("decision", *MEASURES, "joint H, less the chosen")
    parts = [INTRODUCTION.format(about=about, source=EVIDENCE[0], sets=", ".join(DEVELOPMENT))]
    for title, trials in TRIALS.items():
        rows = [row(CHOSEN, chosen, chosen)]
        for trial in trials:
            rows.append(row(trial, results(pair, trial), chosen))
            say(f"tried: {trial.title}, joint H {rows[-1][len(MEASURES)]}")
        parts += [f"## {title}", markdown([heads, *rows])]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """\
# Trials

Written by `python -m studies.photographs --photos DIR --step trials` at {about}. No number here was
typed by hand.

How the [bridge](methods.md#the-bridge) was chosen: on the development sets of
[photographs](photographs.md) ({sets}), 16 shots of base classes, seeds 11, 12 and 13, no label
read; pictures are seen whole, where the pipeline takes five regions of each. The source is
{source}: its 16 shots of each class by the three seeds. Per cent, averages over datasets and seeds;
a difference has a 95 % t-interval over the five datasets."""


def results(pair: Pair, trial: Trial) -> dict[str, dict[str, float]]:
    """Return each measure by dataset, a mean over seeds."""
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    for dataset in DEVELOPMENT:
        of_seeds = [Bench(pair, dataset, seed).measured(trial) for seed in SEEDS]
        for name in MEASURES:
            found[name][dataset] = float(np.mean([one[name] for one in of_seeds]))
    return found


def row(
    trial: Trial,
    found: Mapping[str, Mapping[str, float]],
    chosen: Mapping[str, Mapping[str, float]],
) -> tuple[str, ...]:
    """Return a trial's line of the table."""
    means = (f"{np.mean(list(found[name].values())):.2f}" for name in MEASURES)
    gaps = [found["joint H"][name] - chosen["joint H"][name] for name in DEVELOPMENT]
    return (trial.title, *means, "-" if trial is CHOSEN else str(t_interval(gaps)))
