"""FDBPL's objective equals METHOD section 1 and our additions, written as plain loops."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import TRAINED
from plain import (
    SCALE,
    as_each_alone,
    dot,
    plain_differences,
    plain_fdbpl,
    plain_informativeness,
    plain_weight,
    problem,
    seeds,
    softmax,
)

from fdbpl.methods.fdbpl import Fdbpl, released_second_difference
from fdbpl.methods.options import PRESETS, FdbplOptions
from fdbpl.methods.prompts import POSITIVE_ONLY
from fdbpl.methods.registry import find_method
from fdbpl.system.errors import UserError


def under(options: FdbplOptions) -> Fdbpl:
    return Fdbpl("m", "M", options)


options = st.builds(
    FdbplOptions,
    weight=st.sampled_from(["entropy", "area", "none"]),
    weight_floor=st.sampled_from([0.0, 1e-6, 1e-2]),
    normalise=st.sampled_from(["batch", "sum"]),
    similarity=st.sampled_from(["positive", "difference"]),
    rejection=st.sampled_from(["uniform", "entropy"]),
    rejection_weight=st.sampled_from([0.0, 1.0, 0.3]),
    mutual_weight=st.sampled_from([0.0, 0.001, 0.3]),
    first_weight=st.sampled_from([0.0, 0.1, 2.0]),
    first_margin=st.sampled_from([0.2, 0.0, 1.5]),
    second=st.sampled_from(["hinge", "released"]),
    second_weight=st.sampled_from([0.0, 0.1, 2.0]),
    second_margin=st.sampled_from([0.2, 1.5]),
    negative_share=st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=200, deadline=None)
@given(seed=seeds, chosen=options | st.sampled_from(list(PRESETS.values())))
def test_fdbpl_equals_its_formula(seed: int, chosen: FdbplOptions) -> None:
    batch, text = problem(seed)
    found = under(chosen).objective(batch, text, SCALE)
    wanted = plain_fdbpl(batch, text, chosen)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name


@given(seed=seeds)
def test_weight_none_counts_every_region_fully(seed: int) -> None:
    batch, text = problem(seed)
    chosen = FdbplOptions(weight="none")
    found = under(chosen).objective(batch, text, SCALE)
    for name, value in plain_fdbpl(batch, text, chosen).items():
        assert found[name].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name
    assert found["rejection"].item() == 0


EXTRAS_OFF = {
    "weight": "none",
    "weight_floor": 0,
    "similarity": "positive",
    "rejection_weight": 0,
    "mutual_weight": 0,
    "first_weight": 0,
    "second_weight": 0,
    "inference": "positive",
    "template_share": 0,
}


@pytest.mark.parametrize("preset", [name for name in PRESETS if name in TRAINED])
@pytest.mark.parametrize(
    ("changes", "plain"),
    [({}, "kdpl"), ({"weight": "entropy", "normalise": "sum"}, "kdpl_w")],
)
@given(seed=seeds)
def test_fdbpl_without_its_extras_is_kdpl(preset, changes, plain, seed: int) -> None:
    batch, text = problem(seed)
    batch = replace(batch, areas=None)
    text.requires_grad_()
    method = find_method(preset, {**EXTRAS_OFF, **changes})
    assert method.inference == POSITIVE_ONLY
    ours = sum(method.objective(batch, text, SCALE).values())
    theirs = find_method(plain).objective(batch, text, SCALE)["similarity"]
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


@pytest.mark.parametrize("weight", ["entropy", "area", "none"])
def test_runs_in_one_batch_are_as_each_alone_with_every_term(weight: str) -> None:
    method = under(FdbplOptions(weight=weight))
    runs = [problem(seed) for seed in (1, 2, 3)]
    as_each_alone(method.objective, runs)
    as_each_alone(method.diagnosis, runs)


def test_each_term_reaches_the_context_it_is_for() -> None:
    batch, text = problem(3)
    text.requires_grad_()
    reached = {}
    for name, term in under(PRESETS["paper"]).objective(batch, text, SCALE).items():
        (gradient,) = torch.autograd.grad(term, text, retain_graph=True)
        reached[name] = tuple((gradient.flatten(1).norm(dim=1) > 0).tolist())
    assert reached == {
        "similarity": (True, False),
        "rejection": (False, True),
        "mutual": (True, True),
        "first_difference": (True, True),
        "second_difference": (True, True),
    }


def test_areas_that_are_needed_and_not_given_are_named() -> None:
    batch, text = problem(0)
    objective = under(FdbplOptions(weight="area")).objective
    with pytest.raises(UserError, match=r"this method needs areas.*learn\(areas="):
        objective(replace(batch, areas=None), text, SCALE)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, chosen=options, regions=st.integers(2, 7))
def test_the_diagnosis_equals_plain_loops(seed: int, chosen: FdbplOptions, regions: int) -> None:
    batch, text = problem(seed, regions=regions)
    found = under(chosen).diagnosis(batch, text, SCALE)
    s, first, second = plain_differences(batch, text), chosen.first_margin, chosen.second_margin
    teacher = batch.teacher.exp().tolist()
    labels = [p.index(max(p)) for p in teacher]
    pairs = [(a, b) for a in range(regions) for b in range(regions) if labels[a] != labels[b]]
    active = [
        second + (s[b][labels[a]] - s[b][labels[b]]) - (s[a][labels[a]] - s[a][labels[b]]) > 0
        for a, b in pairs
    ]
    areas = batch.require("areas").tolist()
    w = [plain_weight(p, area, chosen) for p, area in zip(teacher, areas, strict=True)]
    order = sorted(range(regions), key=lambda region: -w[region])  # stable: ties by place
    half = (regions + 1) // 2
    v = text[1].tolist()
    disorder = [
        1 - plain_informativeness(softmax([SCALE * dot(f, row) for row in v]))
        for f in batch.student.tolist()
    ]
    cosines = [dot(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j]
    wanted = {
        "first_hinges_active": sum(s[b][y] < first for b, y in enumerate(labels)) / regions,
        "second_hinges_active": sum(active) / max(len(pairs), 1),
        "negative_entropy_informative": sum(disorder[b] for b in order[:half]) / half,
        "negative_entropy_uninformative": sum(disorder[b] for b in order[half:]) / (regions - half),
        "negative_cosine": sum(cosines) / len(cosines),
    }
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, rel=1e-6, abs=1e-9), name
