"""Every part equals the formula of its docstring, written as plain loops in double precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fdbpl.methods.terms import (
    entropy,
    informativeness,
    kl,
    kl_from_uniform,
    pairwise_hinge,
    symmetric_kl,
)

shapes = st.tuples(st.integers(1, 8), st.integers(1, 6))
seeds = st.integers(0, 999)


def log_probabilities(seed: int, shape: tuple[int, int], sharpness: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits.log_softmax(dim=-1)


def plain_hinge(s, labels, w, margin: float) -> float:
    """METHOD, Lpcd2: the double loop, each pair of regions once."""
    total = 0.0
    for a, y_a in enumerate(labels):
        for b, y_b in enumerate(labels):
            if y_a < y_b:
                f_b, f_a = s[b][y_a] - s[b][y_b], s[a][y_a] - s[a][y_b]
                total += w[a] * w[b] * max(0.0, margin + f_b - f_a)
    return total


@given(seed=seeds, shape=shapes)
def test_divergences_and_entropies_equal_their_sums(seed, shape) -> None:
    log_p, log_q = log_probabilities(seed, shape), log_probabilities(seed + 1, shape)
    classes = shape[1]
    for row, (p, q) in enumerate(zip(log_p.exp().tolist(), log_q.exp().tolist(), strict=True)):
        forward = sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
        backward = sum(y * math.log(y / x) for x, y in zip(p, q, strict=True))
        disorder = -sum(x * math.log(x) for x in p)
        uniform = sum(math.log(1 / classes / x) / classes for x in p)
        assert kl(log_p, log_q)[row].item() == pytest.approx(forward, abs=1e-12)
        found = symmetric_kl(log_p, log_q)[row].item()
        assert found == pytest.approx((forward + backward) / 2, abs=1e-12)
        assert entropy(log_p)[row].item() == pytest.approx(disorder, abs=1e-12)
        assert kl_from_uniform(log_p)[row].item() == pytest.approx(uniform, abs=1e-12)
        w = 1 - disorder / math.log(classes) if classes > 1 else 1
        assert informativeness(log_p)[row].item() == pytest.approx(w, abs=1e-12)


@given(seed=seeds, shape=shapes)
def test_divergences_are_never_negative_and_vanish_where_equal(seed, shape) -> None:
    log_p, log_q = log_probabilities(seed, shape), log_probabilities(seed + 1, shape)
    assert (kl(log_p, log_q) >= -1e-12).all()
    assert symmetric_kl(log_p, log_p).abs().max() < 1e-12
    assert torch.allclose(symmetric_kl(log_p, log_q), symmetric_kl(log_q, log_p))


def test_informativeness_runs_from_0_to_1() -> None:
    uniform = torch.zeros(1, 7).log_softmax(-1)
    sure = torch.tensor([[200.0, 0, 0]]).log_softmax(-1)
    assert informativeness(uniform).item() == pytest.approx(0, abs=1e-6)
    assert informativeness(sure).item() == 1
    assert kl_from_uniform(uniform).item() == pytest.approx(0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, shape=shapes, margin=st.sampled_from([0.0, 0.2, 1.0]))
def test_the_hinge_equals_the_double_loop(seed, shape, margin) -> None:
    rng = np.random.default_rng(seed)
    s, w = rng.standard_normal(shape), rng.random(shape[0])
    labels = rng.integers(0, shape[1], shape[0])
    found = pairwise_hinge(*map(torch.from_numpy, (s, labels, w)), margin)
    assert found.item() == pytest.approx(plain_hinge(s, labels, w, margin), abs=1e-12)


def test_without_two_classes_or_without_weight_the_hinge_is_0() -> None:
    s = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    one_class = pairwise_hinge(s, torch.tensor([1, 1, 1, 1]), torch.ones(4), 0.2)
    weightless = pairwise_hinge(s, torch.tensor([0, 1, 2, 0]), torch.zeros(4), 0.2)
    for term in (one_class, weightless):
        assert term.item() == 0
        (gradient,) = torch.autograd.grad(term, s, retain_graph=True)
        assert gradient.abs().max() == 0
