"""Every objective equals METHOD section 1, written as plain loops in double precision."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_terms import plain_hinge
from torch import Tensor

from fdbpl.errors import UserError
from fdbpl.methods.batch import Batch
from fdbpl.methods.coop import coop
from fdbpl.methods.fdbpl import Fdbpl, released_second_difference
from fdbpl.methods.kdpl import kdpl
from fdbpl.methods.kdpl_w import kdpl_w
from fdbpl.methods.kgcoop import kgcoop
from fdbpl.methods.names import KNOWN, TRAINED
from fdbpl.methods.options import PRESETS, FdbplOptions, with_overrides
from fdbpl.methods.table import trained_method

SCALE = 18.7
seeds = st.integers(0, 999)


def problem(seed: int, regions: int = 6, classes: int = 5, sets: int = 2) -> tuple[Batch, Tensor]:
    """A batch and text features (K, C, D), in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(x, dim=-1)

    logits = 2 * torch.randn(regions, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (regions,), generator=generator)
    student, text, anchors = unit(regions, 8), unit(sets, classes, 8), unit(classes, 8)
    return Batch(student, logits.log_softmax(-1), labels, anchors), text


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(z: list[float]) -> list[float]:
    powers = [math.exp(x - max(z)) for x in z]
    return [x / sum(powers) for x in powers]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def plain_fdbpl(batch: Batch, text: Tensor, o: FdbplOptions) -> dict[str, float]:
    """The five weighted terms, a region and a class at a time."""
    teacher, features = batch.teacher.exp().tolist(), batch.student.tolist()
    u, v = text.tolist()
    classes, count = len(u), len(features)
    d = [[x - y for x, y in zip(a, b, strict=True)] for a, b in zip(u, v, strict=True)]
    if o.difference_unit == "direction":
        d = [[x / math.sqrt(dot(row, row)) for x in row] for row in d]
    factor = SCALE if o.difference_unit == "logit" else 1.0
    s = [[factor * dot(f, row) for row in d] for f in features]
    values: dict[str, list[float]] = {key: [] for key in ("sim", "rej", "mut", "dif")}
    weights, labels = [], []
    for region, (p, f) in enumerate(zip(teacher, features, strict=True)):
        disorder = -sum(x * math.log(x) for x in p)
        w = (1 - disorder / math.log(classes)) ** o.weight_power
        weights.append(1.0 if o.weight == "none" else w)
        labels.append(p.index(max(p)))
        z_plus, z_minus = ([SCALE * dot(f, row) for row in side] for side in (u, v))
        plus, minus = softmax(z_plus), softmax(z_minus)
        values["sim"].append((divergence(p, plus) + divergence(plus, p)) / 2)
        if o.rejection == "uniform":
            values["rej"].append(divergence([1 / classes] * classes, minus))
        else:
            values["rej"].append(sum(x * math.log(x) for x in minus))
        norms = math.sqrt(dot(z_plus, z_plus) * dot(z_minus, z_minus))
        values["mut"].append(dot(z_plus, z_minus) / norms)
        values["dif"].append(max(0.0, o.first_margin - s[region][labels[-1]]))

    def mean(key: str, w: list[float]) -> float:
        return dot(w, values[key]) / (count if o.normalise == "batch" else sum(w))

    second = 0.0 if o.second == "released" else plain_hinge(s, labels, weights, o.second_margin)
    return {
        "similarity": mean("sim", weights),
        "rejection": o.rejection_weight * mean("rej", [1 - w for w in weights]),
        "mutual": o.mutual_weight * mean("mut", weights),
        "first_difference": o.first_weight * mean("dif", weights),
        "second_difference": o.second_weight * second,
    }


options = st.builds(
    FdbplOptions,
    weight_power=st.sampled_from([1.0, 0.5, 2.0]),
    normalise=st.sampled_from(["batch", "sum"]),
    rejection=st.sampled_from(["uniform", "entropy"]),
    mutual_weight=st.sampled_from([0.001, 0.3]),
    difference_unit=st.sampled_from(["cosine", "logit", "direction"]),
    first_weight=st.sampled_from([0.1, 2.0]),
    first_margin=st.sampled_from([0.2, 0.0, 1.5]),
    second=st.sampled_from(["hinge", "released"]),
    second_margin=st.sampled_from([0.2, 1.5]),
)


@settings(max_examples=80, deadline=None)
@given(seed=seeds, chosen=options | st.sampled_from(list(PRESETS.values())))
def test_fdbpl_equals_its_formula(seed: int, chosen: FdbplOptions) -> None:
    batch, text = problem(seed)
    found = Fdbpl(chosen)(batch, text, SCALE)
    wanted = plain_fdbpl(batch, text, chosen)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name


@given(seed=seeds)
def test_weight_none_counts_every_region_fully(seed: int) -> None:
    batch, text = problem(seed)
    chosen = FdbplOptions(weight="none")
    found = Fdbpl(chosen)(batch, text, SCALE)
    for name, value in plain_fdbpl(batch, text, chosen).items():
        assert found[name].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name
    assert found["rejection"].item() == 0


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


EXTRAS_OFF = {
    "weight": "none",
    "rejection_weight": 0,
    "mutual_weight": 0,
    "first_weight": 0,
    "second_weight": 0,
}


@pytest.mark.parametrize(
    ("changes", "plain"),
    [({}, kdpl), ({"weight": "entropy", "normalise": "sum"}, kdpl_w)],
)
@given(seed=seeds)
def test_fdbpl_without_its_extras_is_kdpl(changes, plain, seed: int) -> None:
    batch, text = problem(seed)
    text.requires_grad_()
    options = with_overrides("paper", {**EXTRAS_OFF, **changes})
    ours = sum(Fdbpl(options)(batch, text, SCALE).values())
    theirs = plain(batch, text, SCALE)["similarity"]
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    gradients = [torch.autograd.grad(loss, text)[0] for loss in (ours, theirs)]
    assert torch.allclose(*gradients, rtol=1e-12, atol=1e-15)


@given(seed=seeds, classes=st.integers(2, 9))
def test_the_released_second_difference_is_zero_in_value_and_gradient(seed, classes) -> None:
    _, text = problem(seed, classes=classes)
    text.requires_grad_()
    term = released_second_difference(text[0] - text[1])
    (gradient,) = torch.autograd.grad(term, text)
    assert abs(term.item()) < 1e-12
    assert gradient.abs().max() < 1e-12


def test_the_released_second_difference_is_the_released_sum_over_ordered_pairs() -> None:
    difference = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    total = sum((difference[i] - difference[j]).mean() for i in range(4) for j in range(4))
    assert released_second_difference(difference).item() == pytest.approx(total.item(), abs=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_runs_in_one_batch_are_as_each_alone(name: str) -> None:
    objective = trained_method(name).objective
    runs = [problem(seed) for seed in (1, 2, 3)]
    parts = (
        torch.stack(part)
        for part in zip(
            *((b.student, b.teacher, b.labels, b.anchors) for b, _ in runs), strict=True
        )
    )
    together = objective(Batch(*parts), torch.stack([text for _, text in runs]), SCALE)
    for run, (batch, text) in enumerate(runs):
        alone = objective(batch, text, SCALE)
        for term, value in alone.items():
            assert together[term].expand(3)[run].item() == pytest.approx(value.item(), rel=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_gradients_reach_both_contexts(name: str) -> None:
    batch, text = problem(3)
    text.requires_grad_()
    terms = trained_method(name).objective(batch, text, SCALE)
    (gradient,) = torch.autograd.grad(sum(terms.values()), text)
    assert (gradient.flatten(1).norm(dim=1) > 1e-6).all()


def test_each_term_reaches_the_context_it_is_for() -> None:
    batch, text = problem(3)
    text.requires_grad_()
    reached = {}
    for name, term in Fdbpl(PRESETS["paper"])(batch, text, SCALE).items():
        (gradient,) = torch.autograd.grad(term, text, retain_graph=True)
        reached[name] = tuple((gradient.flatten(1).norm(dim=1) > 0).tolist())
    assert reached == {
        "similarity": (True, False),
        "rejection": (False, True),
        "mutual": (True, True),
        "first_difference": (True, True),
        "second_difference": (True, True),
    }


@pytest.mark.parametrize("name", ["kdpl", "kdpl_w", *PRESETS])
def test_methods_without_labels_do_not_read_them(name: str) -> None:
    batch, text = problem(4)
    other = replace(batch, labels=(batch.labels + 1) % 5)
    objective = trained_method(name).objective
    terms = [objective(given, text, SCALE) for given in (batch, other)]
    assert all(terms[0][key].item() == terms[1][key].item() for key in terms[0])


def test_the_presets_are_as_the_record_has_them() -> None:
    paper: dict[str, Any] = {
        "weight": "entropy",
        "weight_power": 1.0,
        "normalise": "batch",
        "rejection": "uniform",
        "rejection_weight": 1.0,
        "mutual_weight": 0.001,
        "difference_unit": "cosine",
        "first_weight": 0.1,
        "first_margin": 0.2,
        "second": "hinge",
        "second_weight": 0.1,
        "second_margin": 0.2,
    }
    assert PRESETS["paper"].model_dump() == paper
    released = {**paper, "rejection": "entropy", "second": "released"}
    assert PRESETS["released"].model_dump() == released


def test_the_table_knows_every_method() -> None:
    for name in TRAINED:
        method = trained_method(name)
        assert method.name == name
        assert method.starts[0] == "a photo of a"
        assert method.starts[1:] == (("a photo of no",) if name in PRESETS else ())
    assert set(TRAINED) < set(KNOWN)
    with pytest.raises(UserError, match="'zero_shot' is not trained, wanted one of coop, kgcoop"):
        trained_method("zero_shot")
    with pytest.raises(UserError, match="'coop' has no options"):
        trained_method("coop", {"weight": "none"})


def test_changed_options_enter_the_record() -> None:
    method = trained_method("fdbpl", {"first_margin": 0.05})
    assert method.options["first_margin"] == 0.05
    with pytest.raises(UserError, match=r"unknown key 'objectives\.fdbpl\.margin'"):
        trained_method("fdbpl", {"margin": 0.05})
