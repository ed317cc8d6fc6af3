"""What tests of losses share: a small problem in double precision, and slopes by differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fdbpl.methods.method import Batch

SCALE = 18.7
SEEDS, REGIONS = 2, 5


def batch_of(width: int, classes: int, *, anchors: Tensor | None = None, seed: int = 0) -> Batch:
    """Regions of two seeds with labels, and class features as wide unless others are given."""
    draw = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=draw, dtype=torch.float64)
        return torch.nn.functional.normalize(x, dim=-1)

    return Batch(
        student=unit(SEEDS, REGIONS, width),
        teacher=torch.zeros(SEEDS, REGIONS, classes, dtype=torch.float64),
        labels=torch.randint(classes, (SEEDS, REGIONS), generator=draw),
        anchors=unit(classes, width) if anchors is None else anchors,
    )


def cross_entropy(logits: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    """The mean over regions, one at a time."""
    each = [
        np.log(np.exp(np.array(z) - max(z)).sum()) + max(z) - z[y]
        for z, y in zip(logits, labels, strict=True)
    ]
    return float(np.mean(each))


def has_slopes(loss: Callable[[Tensor], Any], at: Tensor, places: int = 6) -> None:
    """See that the gradient of a loss's sum is what differences give, at some places."""
    at = at.detach().clone().requires_grad_()
    loss(at).sum().backward()
    assert at.grad is not None
    flat = at.detach().flatten()
    for place in np.random.default_rng(0).permutation(len(flat))[:places]:
        step = torch.zeros_like(flat)
        step[place] = 1e-6
        higher, lower = (loss((flat + s * step).view_as(at)).sum() for s in (1, -1))
        wanted = (higher - lower).item() / 2e-6
        assert at.grad.flatten()[place].item() == pytest.approx(wanted, rel=1e-4, abs=1e-7)
