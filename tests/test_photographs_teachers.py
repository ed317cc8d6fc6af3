"""Several teachers across the bridge, which are one where they are equal; how much they agree."""

from dataclasses import replace

import numpy as np
import pytest

from fdbpl.classify.decision import unit
from studies.photographs import directions
from studies.photographs.development import Case
from studies.photographs.directions import chosen
from studies.photographs.teachers import (
    Teacher,
    across,
    agreement,
    both,
    first,
    of_themselves,
    second,
    weighted,
    weights,
)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_equal_teachers_are_the_one(photo_case: Case, count: int) -> None:
    equal = [first(photo_case)] * count
    assert np.allclose(across(photo_case, equal), chosen(photo_case))
    assert np.allclose(of_themselves(photo_case, equal), directions.teacher(photo_case))


def test_two_across_the_bridge_are_the_mean_of_each_across_its_own(photo_case: Case) -> None:
    alone = [across(photo_case, [one]) for one in both(photo_case)]
    assert not np.allclose(*alone)
    assert np.allclose(across(photo_case, both(photo_case)), np.mean(alone, axis=0))


def test_a_teacher_brings_its_own_scale_across_the_bridge(photo_case: Case) -> None:
    one = first(photo_case)
    twice, thrice = (
        across(photo_case, [replace(one, scale=factor * one.scale)]) for factor in (2, 3)
    )
    assert np.allclose(twice - chosen(photo_case), thrice - twice)
    assert not np.allclose(twice, thrice)


def test_the_second_sees_what_the_student_does_before_its_projection(photo_case: Case) -> None:
    test = photo_case.test
    features = second(photo_case).features(test)
    assert np.allclose(np.linalg.norm(features, axis=1), 1)
    # the small student of these tests has the student's own projection
    assert np.allclose(features, test.student, atol=1e-6)
    assert np.allclose(features, second(photo_case).features(replace(test, teacher=test.student)))


def _sure(case: Case, labels: list[int]) -> tuple[Teacher, list[np.ndarray]]:
    """Return a teacher who is all but certain of these classes of two, and the classes' vectors."""
    features, vectors = np.eye(2)[labels], np.eye(2)
    return replace(first(case), scale=100.0, features=lambda photos: features), [vectors] * 2


def test_teachers_agree_wholly_or_not_at_all_or_in_between(photo_case: Case) -> None:
    (one, vectors), (other, _) = _sure(photo_case, [0, 0]), _sure(photo_case, [0, 1])
    photos = photo_case.own.of(np.arange(2))
    assert np.allclose(agreement((one, one), photos, vectors), 1)
    assert np.allclose(agreement((one, other), photos, vectors), [1, 0])
    rng = np.random.default_rng(0)
    softer = [
        replace(one, scale=5.0, features=lambda photos, rows=rows: rows)
        for rows in unit(rng.standard_normal((2, 2, 2)))
    ]
    found = agreement((softer[0], softer[1]), photos, vectors)
    assert ((found > 0) & (found < 1)).all()
    assert np.allclose(found, agreement((softer[1], softer[0]), photos, vectors))


def test_pictures_that_equal_teachers_see_weigh_alike(photo_case: Case) -> None:
    equal = (first(photo_case),) * 2
    own, source = weights(photo_case, equal)
    assert (len(own), len(source)) == tuple(
        len(one.labels) for one in (photo_case.own, photo_case.source)
    )
    assert np.allclose(own, 1)
    assert np.allclose(source, 1)
    assert np.allclose(across(photo_case, equal, (own, source)), chosen(photo_case))


def test_agreement_and_disagreement_weigh_otherwise_than_nothing_does(photo_case: Case) -> None:
    plain = across(photo_case, both(photo_case))
    found = [weighted(photo_case, "agreement"), weighted(photo_case, "disagreement"), plain]
    for place, one in enumerate(found):
        assert not any(np.allclose(one, other) for other in found[:place])
