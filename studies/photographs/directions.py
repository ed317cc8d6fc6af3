"""Directions that were tried beside the chosen bridge, each in numpy and from its formula.

As in `fdbpl.methods.bridged`: the chosen logits are s (f - f0) . e_c + 2 (h - h0) M . v_c.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from fdbpl.classify.discriminant import discriminant, values
from fdbpl.classify.moments import Moments
from fdbpl.evaluation.logits import log_softmax
from fdbpl.methods.bridged import RIDGE, SHARE
from studies.photographs.development import Case, shots
from studies.photographs.pair import Floats, Ints, Photos

Text = tuple[Floats, Floats]
"""Class vectors: the student's (C, D) and the teacher's (C, E)."""

Weights = tuple[Floats, Floats]
"""Of own pictures (n,) and of the source's (m,)."""


@dataclass(frozen=True)
class Direction:
    """A decision that is tried.

    Attributes:
        title: as the table calls it.
        found: gives the logits (T, C) of a case's test pictures for all its classes.
    """

    title: str
    found: Callable[[Case], Floats]

    def logits(self, case: Case) -> Floats:
        """Return those of the case's test pictures for all its classes."""
        return self.found(case)


@dataclass(frozen=True)
class Bridge:
    """M (H, E), not times the teacher's scale; h0 (H,), f0 (D,) and the teacher's mean (E,)."""

    matrix: Floats
    hidden_mean: Floats
    feature_mean: Floats
    teacher_mean: Floats

    @classmethod
    def of(
        cls, own: Photos, source: Photos, ridge: float = RIDGE, weights: Weights | None = None
    ) -> "Bridge":
        """Fit it to own pictures and the source's, which are as heavy together.

        Pictures have equal weights by default.
        """
        of_own, of_source = weights or (np.ones(len(own.labels)), np.ones(len(source.labels)))
        moments = _moments(own, of_own)
        moments += _moments(source, of_source).scaled_to(moments, 1.0)
        hidden, means = moments.means()
        width = own.teacher.shape[1]
        matrix = moments.regression(ridge)[:, :width]
        return cls(matrix, hidden, means[width:], means[:width])

    def across(self, photos: Photos) -> Floats:
        """Return (h - h0) M (n, E)."""
        return (photos.hidden - self.hidden_mean) @ self.matrix

    def logits(
        self, case: Case, photos: Photos, share: float = SHARE, text: Text | None = None
    ) -> Floats:
        """Return the chosen logits (n, C) for e (C, D) and v (C, E), the template's by default."""
        e, v = text or (case.text("student"), case.text("teacher"))
        of_student = case.pair.student.logit_scale * (photos.student - self.feature_mean) @ e.T
        return of_student + share * case.pair.teacher.logit_scale * self.across(photos) @ v.T


def _moments(photos: Photos, weights: Floats) -> Moments:
    return Moments.of(photos.hidden, np.hstack([photos.teacher, photos.student]), weights)


def teacher(case: Case) -> Floats:
    """Return the teacher's logits."""
    return case.pair.teacher.logit_scale * case.test.teacher @ case.text("teacher").T


def chosen(case: Case) -> Floats:
    """Return the chosen logits."""
    return Bridge.of(case.own, case.source).logits(case, case.test)


def told(case: Case, photos: Photos, vectors: Floats) -> Floats:
    """Return the probabilities (n, C) that the teacher gives to classes of vectors (C, E)."""
    return np.exp(log_softmax(case.pair.teacher.logit_scale * photos.teacher @ vectors.T))


def random_features(case: Case, kind: Literal["relu", "cosine"], ridge: float) -> Floats:
    """Regress on 2,048 random features beside h, of the whitened length of h."""
    drawn = np.random.default_rng(0)
    both = case.own.with_others(case.source)
    mean = both.hidden.mean(0)
    length = np.sqrt(((both.hidden - mean) ** 2).sum(1).mean())
    weights = drawn.standard_normal((len(mean), 2048))
    phases = drawn.uniform(0, 2 * np.pi, 2048)

    def widened(photos: Photos) -> Photos:
        z = (photos.hidden - mean) / length
        more = np.maximum(z @ weights, 0) if kind == "relu" else np.cos(z @ weights + phases)
        return replace(photos, hidden=np.hstack([z, more / np.sqrt(1024)]))

    bridge = Bridge.of(widened(case.own), widened(case.source), ridge)
    return bridge.logits(case, widened(case.test))


def residual(case: Case, ridge: float) -> Floats:
    """Fit M to the source alone, then a second one to what it leaves of the own pictures."""
    of_source, own = Bridge.of(case.source, case.source), Bridge.of(case.own, case.own)
    left = own.teacher_mean + (case.own.hidden - own.hidden_mean) @ of_source.matrix
    rest = replace(case.own, teacher=case.own.teacher - left)
    matrix = of_source.matrix + Bridge.of(rest, rest, ridge).matrix
    return replace(own, matrix=matrix).logits(case, case.test)


def held_out_ridge(case: Case) -> Floats:
    """Take the ridge by which pictures of hidden classes are foretold best, in five folds."""
    ridges = (0.03, 0.1, 0.3, 1.0, 3.0)
    errors = dict.fromkeys(ridges, 0.0)
    for kept, hidden in _folds(case):
        for ridge in ridges:
            bridge = Bridge.of(kept, case.source, ridge)
            gap = hidden.teacher - bridge.teacher_mean - bridge.across(hidden)
            errors[ridge] += float((gap**2).sum())
    ridge = min(errors, key=lambda one: errors[one])
    return Bridge.of(case.own, case.source, ridge).logits(case, case.test)


def held_out_share(case: Case) -> Floats:
    """Take the share that most often says what the teacher does of pictures of hidden classes."""
    shares, base = (0.5, 1.0, 2.0, 3.0, 6.0), case.halves[0]
    right = dict.fromkeys(shares, 0.0)
    for kept, hidden in _folds(case):
        bridge = Bridge.of(kept, case.source)
        says = _likeliest(case, hidden)
        for share in shares:
            logits = bridge.logits(case, hidden, share)[:, base]
            right[share] += float((logits.argmax(1) == says).sum())
    share = max(right, key=lambda one: right[one])
    return Bridge.of(case.own, case.source).logits(case, case.test, share)


def _likeliest(case: Case, photos: Photos) -> Ints:
    return told(case, photos, case.text("teacher")[case.halves[0]]).argmax(1)


def _folds(case: Case) -> list[tuple[Photos, Photos]]:
    """Return the own pictures without a fifth of the classes, by the teacher, and those of it."""
    fold = np.random.default_rng(0).permutation(len(case.halves[0])) % 5
    of_picture = fold[_likeliest(case, case.own)]
    return [
        (case.own.of(of_picture != one), case.own.of(of_picture == one))
        for one in np.unique(of_picture)
    ]


TEACHER = Direction("the teacher itself", teacher)
MAPS = (
    Direction(
        "2,048 random ReLU features beside h", partial(random_features, kind="relu", ridge=1.0)
    ),
    Direction("2,048 random cosines beside h", partial(random_features, kind="cosine", ridge=1.0)),
    *(
        Direction(
            f"the source's map, and a residual of ridge {ridge}", partial(residual, ridge=ridge)
        )
        for ridge in (0.3, 3.0)
    ),
    Direction("ridge by hidden classes", held_out_ridge),
    Direction("share by hidden classes", held_out_share),
)


def class_means(case: Case, share: float, temperature: float) -> Floats:
    """Let classes be Gaussians: learned ones about their pictures, others about their names.

    mu_c ~ N(A v_c, kappa S) and z ~ N(mu_c, S) for z = (h - h0) M; the teacher says which classes
    own pictures and the source's show. A is a ridge regression of their means on v_c, kappa what it
    leaves of held-out means, in S. A class of n pictures then has the predictive covariance
    (1 + kappa / (1 + n kappa)) S, so that known and new ones compete on one scale.

    Args:
        case: the dataset and seed.
        share: of the chosen logits beside these.
        temperature: factor of these.
    """
    bridge, across = Bridge.of(case.own, case.source), foretold(case)
    learned = case.text("teacher")[case.halves[0]]
    of_source = case.text("teacher", source=True)
    vectors = np.vstack([learned, of_source])
    shown = np.zeros((len(across), len(vectors)))
    shown[: len(case.own.labels), : len(learned)] = told(case, case.own, learned)
    shown[len(case.own.labels) :, len(learned) :] = told(case, case.source, of_source)
    count = np.maximum(shown.sum(0), 1e-9)
    means = shown.T @ across / count[:, None]
    within = across - shown @ means
    precision = np.linalg.inv(_shrunk(within.T @ within / len(within), len(within)))

    known = count > 2
    centre, start = vectors[known].mean(0), means[known].mean(0)
    x, y = vectors[known] - centre, means[known] - start
    normal = x.T @ x + 0.1 * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
    a = np.linalg.solve(normal, x.T @ y)
    leverage = (np.linalg.solve(normal, x.T).T * x).sum(1)
    left = (y - x @ a) / (1 - np.minimum(leverage, 0.95))[:, None]
    spread = ((left @ precision) * left).sum(1) / len(precision) - 1 / count[known]
    kappa = max(1e-3, float(spread.mean()))

    mean = start + (case.text("teacher") - centre) @ a
    wide = np.full(len(mean), kappa)
    base, n = case.halves[0], count[: len(learned)]
    mean[base] = (mean[base] / kappa + n[:, None] * means[: len(learned)]) / (1 / kappa + n)[
        :, None
    ]
    wide[base] = kappa / (1 + n * kappa)
    z = bridge.across(case.test)
    gaps = z[:, None] - mean
    distance = ((gaps @ precision) * gaps).sum(-1)
    density = -distance / (2 * (1 + wide)) - len(precision) / 2 * np.log1p(wide)
    return temperature * density + share * bridge.logits(case, case.test)


def _shrunk(covariance: Floats, count: int) -> Floats:
    """Shrink a covariance towards its mean variance, as `fdbpl.classify.discriminant` does."""
    width = len(covariance)
    share = width / (width + count - 1)
    variance = np.trace(covariance) / width
    return (1 - share) * covariance + share * variance * np.eye(width)


def foretold(case: Case) -> Floats:
    """Return what a bridge without them says of own pictures and the source's, (n + m, E)."""
    drawn = np.random.default_rng(0)
    own, source = (drawn.permutation(len(one.labels)) % 5 for one in (case.own, case.source))
    found = np.zeros((len(own) + len(source), case.own.teacher.shape[1]))
    for one in range(5):
        bridge = Bridge.of(case.own.of(own != one), case.source.of(source != one))
        found[np.concatenate([own, source]) == one] = bridge.across(
            case.own.of(own == one).with_others(case.source.of(source == one))
        )
    return found


def memory(case: Case, share: float) -> Floats:
    """Add the discriminant of the learned classes' features, though others compete."""
    base, logits = case.halves[0], chosen(case)
    shown = told(case, case.own, case.text("teacher")[base])
    rows = discriminant([(case.own.student, shown, np.ones(len(shown)))])
    logits[:, base] += share * values(rows, case.test.student)
    return logits


CLASS_MEANS = (
    Direction("class means, alone", partial(class_means, share=0.0, temperature=1.0)),
    Direction(
        "class means, a tenth beside the chosen", partial(class_means, share=1.0, temperature=0.1)
    ),
    *(
        Direction(f"a memory of share {share}, nothing silences it", partial(memory, share=share))
        for share in (0.05, 0.5)
    ),
)


def more(case: Case, seen: Literal["base", "shots", "train", "test"]) -> Floats:
    """Fit M to more own pictures than the shots of base classes."""
    labels, classes = case.every.labels, np.concatenate(case.halves)
    own = {
        "base": lambda: case.every.of(np.isin(labels, case.halves[0])),
        "shots": lambda: case.every.of(shots(labels, classes, case.seed)),
        "train": lambda: case.every,
        "test": lambda: case.every.with_others(case.test),
    }[seen]()
    return Bridge.of(own, case.source).logits(case, case.test)


MORE = (
    Direction("all training pictures of base classes", partial(more, seen="base")),
    Direction("16 shots of all classes", partial(more, seen="shots")),
    Direction("all training pictures", partial(more, seen="train")),
    Direction("the test pictures, too", partial(more, seen="test")),
)
