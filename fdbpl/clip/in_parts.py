"""A frozen tower run in parts, some of which are computed again in the backward pass."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fdbpl.clip.block import Kept

SHARES = 4
"""Parts of a budget, at least: the last is worked on, the others hold what they need."""

CACHED = 8 << 20
"""Bytes of a part's widest matrix on a processor: of more, caches hold too little."""


class Engine(Protocol):
    """What takes a part through a frozen tower, forward and backward; what a part is, it knows."""

    def forward(self, learned: Tensor, part: Any, *, keep: bool) -> tuple[Tensor, list[Kept]]:
        """Return (K, C of the part, ...) and, to be kept, what `backward` needs."""

    def backward(self, grad: Tensor, kept: Sequence[Kept], learned: Tensor, part: Any) -> Tensor:
        """Return the gradient on what is learned from that on the part's result."""


def held(sizes: Sequence[int], allowed: int) -> int:
    """Return how many parts are held, from the first on, while another is worked on.

    Args:
        sizes: of all parts.
        allowed: what may be held at once, in the same unit.
    """
    if sum(sizes) <= allowed:
        return len(sizes)
    return sum(total + max(sizes) <= allowed for total in accumulate(sizes))


def in_parts(learned: Tensor, engine: Engine, parts: Sequence[Any], hold: int) -> Tensor:
    """Run the parts and join their results (K, C, ...) along C; differentiable in `learned`.

    The first `hold` parts keep what their backward pass needs; the others are computed again.
    """
    found: Tensor = _InParts.apply(learned, engine, parts, hold)
    return found


class _InParts(Function):
    @staticmethod
    def forward(
        ctx: Any, learned: Tensor, engine: Engine, parts: Sequence[Any], hold: int
    ) -> Tensor:
        ctx.engine, ctx.parts, ctx.held = engine, parts, []
        results = []
        for index, part in enumerate(parts):
            keep = ctx.needs_input_grad[0] and index < hold
            found, kept = engine.forward(learned, part, keep=keep)
            results.append(found)
            if keep:
                ctx.held.append(kept)
        ctx.sizes = [found.shape[1] for found in results]
        ctx.save_for_backward(learned)
        return torch.cat(results, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (learned,) = ctx.saved_tensors
        total = torch.zeros_like(learned)
        grads = torch.split(grad, ctx.sizes, dim=1)
        for index, (part, on_part) in enumerate(zip(ctx.parts, grads, strict=True)):
            if index < len(ctx.held):
                kept = ctx.held[index]
            else:
                kept = ctx.engine.forward(learned, part, keep=True)[1]
            total += ctx.engine.backward(on_part, kept, learned, part)
        return total, None, None, None
