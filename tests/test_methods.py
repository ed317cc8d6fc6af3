"""Every objective equals its formula, written as plain loops in double precision."""

import math
from dataclasses import replace

import pytest
import torch
from fdbpl.methods.kdpl_w import kdpl_w
from fdbpl.methods.names import CLOSED_FORM, FROM_REGIONS, KNOWN, TRAINED
from fdbpl.methods.table import trained_method
from hypothesis import given
from hypothesis import strategies as st
from plain import SCALE, as_each_alone, divergence, dot, problem, seeds, softmax

from fdbpl.methods.coop import coop
from fdbpl.methods.kdpl import kdpl
from fdbpl.methods.kgcoop import kgcoop
from fdbpl.methods.options import PRESETS
from fdbpl.system.errors import UserError


@given(seed=seeds)
def test_coop_is_the_cross_entropy_of_labels(seed: int) -> None:
    batch, text = problem(seed, sets=1)
    wanted = 0.0
    for f, label in zip(batch.student.tolist(), batch.labels.tolist(), strict=True):
        wanted -= math.log(softmax([SCALE * dot(f, u) for u in text[0].tolist()])[label]) / 6
    terms = coop(batch, text, SCALE)
    assert terms["cross_entropy"].item() == pytest.approx(wanted, rel=1e-10)


@given(seed=seeds, classes=st.integers(2, 6))
def test_kgcoop_is_coop_and_the_squared_distance_to_the_anchors(seed: int, classes: int) -> None:
    batch, text = problem(seed, classes=classes, sets=1)
    assert batch.anchors is not None
    distance = 0.0
    for u, a in zip(text[0].tolist(), batch.anchors.tolist(), strict=True):
        distance += sum((x - y) ** 2 for x, y in zip(u, a, strict=True)) / classes
    terms = kgcoop(batch, text, SCALE)
    assert list(terms) == ["cross_entropy", "knowledge"]
    assert terms["cross_entropy"] == coop(batch, text, SCALE)["cross_entropy"]
    assert terms["knowledge"].item() == pytest.approx(8 * distance, rel=1e-10)
    at_anchors = kgcoop(batch, batch.anchors[None], SCALE)
    assert at_anchors["knowledge"].item() == 0


def test_kgcoop_without_anchors_is_refused() -> None:
    batch, text = problem(0)
    with pytest.raises(UserError, match="none were given"):
        kgcoop(replace(batch, anchors=None), text, SCALE)


@given(seed=seeds)
def test_kdpl_w_is_the_symmetric_divergence_weighted_by_what_the_teacher_knows(seed: int) -> None:
    batch, text = problem(seed, sets=1)
    total = weights = 0.0
    for p, f in zip(batch.teacher.exp().tolist(), batch.student.tolist(), strict=True):
        q = softmax([SCALE * dot(f, u) for u in text[0].tolist()])
        w = 1 + sum(x * math.log(x) for x in p) / math.log(len(p))
        total += w * (divergence(p, q) + divergence(q, p)) / 2
        weights += w
    found = kdpl_w(batch, text, SCALE)["similarity"].item()
    assert found == pytest.approx(total / weights, rel=1e-10)


def test_equal_weights_make_kdpl_w_kdpl_and_no_weight_makes_it_0() -> None:
    batch, text = problem(5, sets=1)
    equal = replace(batch, teacher=batch.teacher[:1].expand(6, -1))
    for_each = [objective(equal, text, SCALE)["similarity"] for objective in (kdpl, kdpl_w)]
    assert for_each[0].item() == pytest.approx(for_each[1].item(), rel=1e-12)
    ignorant = replace(batch, teacher=torch.zeros(6, 5, dtype=torch.float64).log_softmax(-1))
    assert kdpl_w(ignorant, text, SCALE)["similarity"].item() == pytest.approx(0, abs=1e-3)


@given(seed=seeds)
def test_kdpl_is_the_symmetric_divergence(seed: int) -> None:
    batch, text = problem(seed, sets=1)
    wanted = 0.0
    for p, f in zip(batch.teacher.exp().tolist(), batch.student.tolist(), strict=True):
        q = softmax([SCALE * dot(f, u) for u in text[0].tolist()])
        wanted += (divergence(p, q) + divergence(q, p)) / 2 / 6
    assert kdpl(batch, text, SCALE)["similarity"].item() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("name", TRAINED)
def test_runs_in_one_batch_are_as_each_alone(name: str) -> None:
    objective = trained_method(name).objective
    runs = [problem(seed) for seed in (1, 2, 3)]
    as_each_alone(objective, runs)


@pytest.mark.parametrize("name", PRESETS)
def test_gradients_reach_both_contexts(name: str) -> None:
    batch, text = problem(3)
    text.requires_grad_()
    terms = trained_method(name).objective(batch, text, SCALE)
    (gradient,) = torch.autograd.grad(sum(terms.values()), text)
    assert (gradient.flatten(1).norm(dim=1) > 1e-6).all()


@pytest.mark.parametrize("name", ["kdpl", "kdpl_w", *PRESETS])
def test_methods_without_labels_do_not_read_them(name: str) -> None:
    batch, text = problem(4)
    other = replace(batch, labels=(batch.labels + 1) % 5)
    objective = trained_method(name).objective
    terms = [objective(given, text, SCALE) for given in (batch, other)]
    assert all(terms[0][key].item() == terms[1][key].item() for key in terms[0])


def test_the_table_knows_every_method() -> None:
    for name in TRAINED:
        method = trained_method(name)
        assert method.name == name
        assert method.starts[0] == "a photo of a"
        assert method.starts[1:] == (("a photo of no",) if name in PRESETS else ())
    for name in CLOSED_FORM:
        method = trained_method(name)
        assert (method.starts, method.objective) == ((), None)
    assert set(FROM_REGIONS) == {*CLOSED_FORM, *TRAINED} < set(KNOWN)
    with pytest.raises(UserError, match=r"'zero_shot' does not learn from .* one of gda_teacher"):
        trained_method("zero_shot")
    with pytest.raises(UserError, match="'coop' has no options"):
        trained_method("coop", {"weight": "none"})


def test_changed_options_enter_the_record() -> None:
    method = trained_method("fdbpl", {"first_margin": 0.05})
    assert method.options["first_margin"] == 0.05
    with pytest.raises(UserError, match=r"unknown key 'objectives\.fdbpl\.margin'"):
        trained_method("fdbpl", {"margin": 0.05})
