"""The directions that were tried, against plain arithmetic and the package's own decision."""

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

from fdbpl.evaluation.logits import log_softmax
from studies.photographs import directions, rejecting, steps
from studies.photographs.development import MEASURES, Case
from studies.photographs.directions import Bridge, Direction, chosen, foretold
from studies.photographs.trials import CHOSEN, TRIALS


def test_the_chosen_decision_here_is_the_packages(photo_case: Case) -> None:
    assert np.allclose(chosen(photo_case), CHOSEN.logits(photo_case), atol=1e-3)


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_bridges_logits_follow_their_formula(photo_case: Case, share: float) -> None:
    bridge = Bridge.of(photo_case.own, photo_case.source)
    pair, test = photo_case.pair, photo_case.test
    e, v = photo_case.text("student"), photo_case.text("teacher")
    for n, c in product((0, 5), (0, 2)):
        across = (test.hidden[n] - bridge.hidden_mean) @ bridge.matrix
        wanted = pair.student.logit_scale * (test.student[n] - bridge.feature_mean) @ e[c]
        wanted += share * pair.teacher.logit_scale * across @ v[c]
        assert bridge.logits(photo_case, test, share)[n, c] == pytest.approx(wanted, rel=1e-5)


EVERY = [one for trials in TRIALS.values() for one in trials if isinstance(one, Direction)]


@pytest.mark.parametrize("direction", EVERY, ids=lambda one: one.title)
def test_every_direction_is_measured_and_the_same_again(
    photo_case: Case, direction: Direction
) -> None:
    found = direction.logits(photo_case)
    assert found.shape == (len(photo_case.test.labels), 3)
    assert np.isfinite(found).all()
    assert np.array_equal(found, direction.logits(photo_case))
    assert tuple(photo_case.measured(found)) == MEASURES


def test_what_is_foretold_of_a_picture_does_not_depend_on_it(photo_case: Case) -> None:
    before = foretold(photo_case)
    own = photo_case.own
    teacher = own.teacher.copy()
    teacher[0] = -teacher[0]
    changed = _with_own(photo_case, replace(own, teacher=teacher))
    after = foretold(changed)
    assert np.allclose(after[0], before[0])
    assert not np.allclose(after, before)


def test_a_class_of_many_pictures_lies_where_these_do(photo_case: Case) -> None:
    of_means = log_softmax(directions.class_means(photo_case, share=0.0, temperature=1.0))
    added = directions.class_means(photo_case, share=1.0, temperature=0.0)
    assert np.allclose(added, chosen(photo_case))
    assert not np.allclose(of_means, log_softmax(added))


def test_memory_speaks_for_learned_classes_alone(photo_case: Case) -> None:
    gap = directions.memory(photo_case, 0.5) - chosen(photo_case)
    base, new = photo_case.halves
    assert not gap[:, new].any()
    assert gap[:, base].all()


@pytest.mark.parametrize("tower", ["student", "teacher"])
def test_a_context_that_takes_no_step_starts_from_its_words(
    photo_case: Case, monkeypatch: pytest.MonkeyPatch, tower: Any
) -> None:
    learn = partial(steps.contexts, photo_case, tower, 1)
    learned = learn()
    monkeypatch.setattr(steps, "EPOCHS", 0)
    assert not np.allclose(learn(), learned)


def test_a_bridge_that_takes_no_step_is_the_chosen(
    photo_case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not np.allclose(steps.matrix(photo_case), chosen(photo_case))
    monkeypatch.setattr(steps, "STEPS", 0)
    assert np.allclose(steps.matrix(photo_case), chosen(photo_case))


def test_far_pictures_are_of_other_sets_of_development(photo_case: Case) -> None:
    found = rejecting.far(photo_case, 5)
    birds = photo_case.pair.seen["test"]["birds"]
    assert len(found.labels) == 5
    assert all((birds.student == one).all(1).any() for one in found.student)


def test_scores_tell_base_classes_pictures_from_none(photo_case: Case) -> None:
    found = rejecting.measured(photo_case)
    assert rejecting.CHOSEN in found
    for measures in found.values():
        assert set(measures) == {
            f"{kind} {measure}" for kind in rejecting.KINDS for measure in ("AUROC", "FPR95")
        }
        assert all(0 <= one <= 100 for one in measures.values())


def test_more_pictures_of_base_classes_are_the_shots_where_no_others_are(photo_case: Case) -> None:
    base, shots, train, test = (one.logits(photo_case) for one in directions.MORE)
    assert np.allclose(base, chosen(photo_case))  # no class has more than 16
    assert np.allclose(shots, train)
    assert not np.allclose(base, train)
    assert not np.allclose(train, test)


def test_a_bridge_takes_weights_within_a_dataset_alone(photo_case: Case) -> None:
    own, source = photo_case.own, photo_case.source
    counts = len(own.labels), len(source.labels)
    plain = Bridge.of(own, source)
    same = Bridge.of(own, source, weights=(np.full(counts[0], 3.0), np.full(counts[1], 0.2)))
    assert np.allclose(same.matrix, plain.matrix)
    kept = np.arange(counts[0]) > 0
    without = Bridge.of(own, source, weights=(kept.astype(float), np.ones(counts[1])))
    assert np.allclose(without.matrix, Bridge.of(own.of(kept), source).matrix)
    assert not np.allclose(without.matrix, plain.matrix)


def _with_own(case: Case, own: Any) -> Case:
    """Return a case whose shots are others."""
    found = Case(case.pair, case.dataset, case.seed)
    found.__dict__["own"] = own
    return found
