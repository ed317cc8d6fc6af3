"""Every objective equals its formula, written as plain loops in double precision."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kinds import KNOWN, LABELLED, TRAINED
from plain import SCALE, as_each_alone, divergence, dot, problem, seeds, softmax

from fdbpl.methods.options import PRESETS
from fdbpl.methods.registry import METHODS, find_method, title_of, usable
from fdbpl.system.errors import UserError

coop, kgcoop, kdpl, kdpl_w = (
    find_method(name).objective for name in ("coop", "kgcoop", "kdpl", "kdpl_w")
)


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


@pytest.mark.parametrize("weighted", [True, False])
@given(seed=seeds)
def test_kdpl_is_the_symmetric_divergence_and_w_what_the_teacher_knows(weighted, seed) -> None:
    batch, text = problem(seed, sets=1)
    total = weights = 0.0
    for p, f in zip(batch.teacher.exp().tolist(), batch.student.tolist(), strict=True):
        q = softmax([SCALE * dot(f, u) for u in text[0].tolist()])
        w = 1 + sum(x * math.log(x) for x in p) / math.log(len(p)) if weighted else 1
        total += w * (divergence(p, q) + divergence(q, p)) / 2
        weights += w
    found = (kdpl_w if weighted else kdpl)(batch, text, SCALE)["similarity"].item()
    assert found == pytest.approx(total / weights, rel=1e-10)


def test_equal_weights_make_kdpl_w_kdpl_and_no_weight_makes_it_0() -> None:
    batch, text = problem(5, sets=1)
    equal = replace(batch, teacher=batch.teacher[:1].expand(6, -1))
    for_each = [objective(equal, text, SCALE)["similarity"] for objective in (kdpl, kdpl_w)]
    assert for_each[0].item() == pytest.approx(for_each[1].item(), rel=1e-12)
    ignorant = replace(batch, teacher=torch.zeros(6, 5, dtype=torch.float64).log_softmax(-1))
    assert kdpl_w(ignorant, text, SCALE)["similarity"].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", TRAINED)
def test_runs_in_one_batch_are_as_each_alone(name: str) -> None:
    objective = find_method(name).objective
    runs = [problem(seed) for seed in (1, 2, 3)]
    as_each_alone(objective, runs)


@pytest.mark.parametrize("name", [name for name in PRESETS if name in TRAINED])
def test_gradients_reach_both_contexts(name: str) -> None:
    batch, text = problem(3)
    text.requires_grad_()
    terms = find_method(name).objective(batch, text, SCALE)
    (gradient,) = torch.autograd.grad(sum(terms.values()), text)
    assert (gradient.flatten(1).norm(dim=1) > 1e-6).all()


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in LABELLED])
def test_methods_without_labels_do_not_read_them(name: str) -> None:
    batch, text = problem(4)
    other = replace(batch, labels=(batch.labels + 1) % 5)
    objective = find_method(name).objective
    terms = [objective(given, text, SCALE) for given in (batch, other)]
    assert all(terms[0][key].item() == terms[1][key].item() for key in terms[0])


def test_the_registry_knows_every_method() -> None:
    for name in KNOWN:
        method = find_method(name)
        assert (method.name, method.title) == (name, title_of(name))
        if name in TRAINED:
            starts = ("a photo of a", *(["a photo of no"] if name in PRESETS else []))
            assert method.starts == starts
    assert [one.name for one in usable(METHODS.values(), labels=True)] == list(KNOWN)
    free = [one.name for one in usable(METHODS.values(), labels=False)]
    assert free == [name for name in KNOWN if name not in LABELLED]
    assert title_of("mine") == "mine"


def test_what_is_no_method_or_no_option_is_named() -> None:
    with pytest.raises(UserError, match=r"method is 'none', wanted one of zero_shot, .*FILE\.py:"):
        find_method("none")
    with pytest.raises(UserError, match="'coop' has no options"):
        find_method("coop", {"weight": "none"})
    with pytest.raises(UserError, match=r"unknown key 'objectives\.fdbpl\.margin'"):
        find_method("fdbpl", {"margin": 0.05})
    assert find_method("fdbpl", {"first_margin": 0.05}).options.first_margin == 0.05
    assert find_method("fdbpl").options == PRESETS["fdbpl"]  # which nothing has changed


OWN = """
from fdbpl.methods.coop import CoOp

class Mine(CoOp):
    title = "my own"

class Plain(CoOp):
    pass

nothing = 3
"""


def test_a_users_own_method_stands_in_his_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    mine, plain = (find_method(name, file=str(file)) for name in ("Mine", "Plain"))
    assert (mine.name, mine.title, plain.title) == ("Mine", "my own", "Plain")
    assert (mine.labelled, mine.takes_steps) == (True, True)
    for name, says in (("nothing", "is a int"), ("lost", "no such class")):
        with pytest.raises(UserError, match=rf"mine\.py: '{name}' .*{says}.*derives from"):
            find_method(name, file=str(file))
    with pytest.raises(UserError, match="'Mine' has no options"):
        find_method("Mine", {"lr": 1}, str(file))
    with pytest.raises(UserError, match=r"gone\.py: no such Python file"):
        find_method("Mine", file=str(tmp_path / "gone.py"))
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(UserError, match=r"bad\.py: ZeroDivisionError: .*Mend the file"):
        find_method("Mine", file=str(tmp_path / "bad.py"))
