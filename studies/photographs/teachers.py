"""Several teachers in one cache: their mean across the bridge, and how much they agree.

The second teacher has the student's image tower, and a text tower that was told names as well as
the first's. So its feature t2 = unit(h W2) is no other look at a picture: what it knows beside the
student is how names lie in h, of which the student's own f = unit(h W) tells less.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import rel_entr

from fdbpl.classify.decision import unit
from fdbpl.clip.projection import last_projection
from fdbpl.evaluation.logits import log_softmax
from studies.photographs.development import Case
from studies.photographs.directions import TEACHER, Bridge, Direction, Weights
from studies.photographs.pair import Floats, Photos


@dataclass(frozen=True)
class Teacher:
    """A teacher of a case.

    Attributes:
        scale: of its logits.
        features: gives those of pictures, (n, E).
        text: its class vectors (C, E).
        of_source: those of the source (K, E).
    """

    scale: float
    features: Callable[[Photos], Floats]
    text: Floats
    of_source: Floats

    def logits(self, photos: Photos, vectors: Floats) -> Floats:
        """Return its logits (n, C) of pictures for classes of vectors (C, E)."""
        return self.scale * self.features(photos) @ vectors.T


def first(case: Case) -> Teacher:
    """Return the teacher of the study."""
    return Teacher(
        case.pair.teacher.logit_scale,
        lambda photos: photos.teacher,
        case.text("teacher"),
        case.text("teacher", source=True),
    )


def second(case: Case) -> Teacher:
    """Return the second teacher: the packaged small student."""
    projection = last_projection(case.pair.second).numpy()
    return Teacher(
        case.pair.second.logit_scale,
        lambda photos: unit(photos.hidden @ projection),
        case.text("second"),
        case.text("second", source=True),
    )


def both(case: Case) -> tuple[Teacher, Teacher]:
    """Return the two."""
    return first(case), second(case)


def of_themselves(case: Case, teachers: Sequence[Teacher]) -> Floats:
    """Return the mean of their logits (T, C) of the test pictures: s_k t_k . v_kc."""
    return np.mean([one.logits(case.test, one.text) for one in teachers], axis=0)


def across(case: Case, teachers: Sequence[Teacher], weights: Weights | None = None) -> Floats:
    """Return the chosen logits (T, C) with several teachers for the one.

        s (f - f0) . e_c + 2 mean_k s_k (h - h0) M_k . v_kc

    All M_k come of one regression, whose targets are the teachers' features side by side.

    Args:
        case: the dataset and seed.
        teachers: k of them.
        weights: of pictures in the regression and the means h0 and f0; equal ones by default.
    """

    def stacked(photos: Photos) -> Photos:
        return replace(photos, teacher=np.hstack([one.features(photos) for one in teachers]))

    # the bridge brings the first teacher's scale
    scale = len(teachers) * case.pair.teacher.logit_scale
    vectors = np.hstack([one.scale / scale * one.text for one in teachers])
    bridge = Bridge.of(stacked(case.own), stacked(case.source), weights=weights)
    return bridge.logits(case, case.test, text=(case.text("student"), vectors))


def agreement(
    teachers: tuple[Teacher, Teacher], photos: Photos, vectors: Sequence[Floats]
) -> Floats:
    """Return 1 - JS(p1, p2) / ln 2 of two teachers' probabilities of pictures (n,), in [0, 1].

    JS is the Jensen-Shannon divergence, mean_k KL(p_k || (p1 + p2) / 2), at most ln 2.

    Args:
        teachers: the two.
        photos: n pictures.
        vectors: of the classes, by each of the two (C, E).
    """
    p, q = (
        np.exp(log_softmax(one.logits(photos, v))) for one, v in zip(teachers, vectors, strict=True)
    )
    mean = (p + q) / 2
    divergence = (rel_entr(p, mean) + rel_entr(q, mean)).sum(1) / 2
    return np.clip(1 - divergence / np.log(2), 0, 1)


def weights(case: Case, teachers: tuple[Teacher, Teacher]) -> Weights:
    """Return their agreement on own pictures, by base classes, and on the source's, by its own."""
    base = case.halves[0]
    return (
        agreement(teachers, case.own, [one.text[base] for one in teachers]),
        agreement(teachers, case.source, [one.of_source for one in teachers]),
    )


def weighted(case: Case, by: Literal["agreement", "disagreement"]) -> Floats:
    """Bridge to both teachers, pictures weighted by their agreement w or by 1 - w."""
    own, source = weights(case, both(case))
    if by == "disagreement":
        own, source = 1 - own, 1 - source
    return across(case, both(case), (own, source))


SECOND = Direction("the second teacher itself", lambda case: of_themselves(case, [second(case)]))
BOTH = Direction("the mean of both teachers", lambda case: of_themselves(case, both(case)))
SECOND_ACROSS = Direction("the second across the bridge", lambda case: across(case, [second(case)]))
BOTH_ACROSS = Direction("the mean of both across the bridge", lambda case: across(case, both(case)))
BY_AGREEMENT = Direction(
    "the mean, pictures weighted by agreement", partial(weighted, by="agreement")
)
BY_DISAGREEMENT = Direction(
    "the mean, pictures weighted by disagreement", partial(weighted, by="disagreement")
)
TEACHERS = (
    TEACHER,
    SECOND,
    BOTH,
    Direction(
        "the first, pictures weighted by agreement",
        lambda case: across(case, [first(case)], weights(case, both(case))),
    ),
    SECOND_ACROSS,
    BOTH_ACROSS,
    BY_AGREEMENT,
    BY_DISAGREEMENT,
)
