"""The plain text way where it does not fit into memory: in parts, some of them run twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fdbpl.clip.prompting import PlainText
from fdbpl.clip.tokens import PromptTokens


def bytes_per_class(tower: Any, tokens: PromptTokens, context: Tensor) -> int:
    """Count what automatic differentiation keeps of one class under one context (M, W)."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in tower.parameters()}

    def count(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    encode = PlainText(tower, replace(tokens, suffixes=tokens.suffixes[:1]))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        features = encode(context[None].detach().requires_grad_())
    del features
    return sum(kept.values())


class PlainInParts:
    """PlainText over parts of the classes: those that fit keep their graph, others run twice."""

    def __init__(self, tower: Any, tokens: PromptTokens, size: int, held: int):
        starts = range(0, len(tokens.suffixes), size)
        self.parts = [
            PlainText(tower, replace(tokens, suffixes=tokens.suffixes[start : start + size]))
            for start in starts
        ]
        self.held = held

    def __call__(self, contexts: Tensor) -> Tensor:
        features: Tensor = _Parts.apply(contexts, self)
        return features


class _Parts(Function):
    @staticmethod
    def forward(ctx: Any, contexts: Tensor, whole: PlainInParts) -> Tensor:
        ctx.whole, ctx.graphs = whole, []
        ctx.save_for_backward(contexts)
        found = []
        for index, part in enumerate(whole.parts):
            if index < whole.held:
                ctx.graphs.append(_graph(part, contexts))
                found.append(ctx.graphs[-1][1].detach())
            else:
                found.append(part(contexts))
        return torch.cat(found, dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (contexts,) = ctx.saved_tensors
        total, start = torch.zeros_like(contexts), 0
        for index, part in enumerate(ctx.whole.parts):
            if index < len(ctx.graphs):
                leaf, features = ctx.graphs[index]
            else:
                leaf, features = _graph(part, contexts)
            stop = start + features.shape[1]
            total += torch.autograd.grad(features, leaf, grad[:, start:stop])[0]
            start = stop
        return total, None


def _graph(part: PlainText, contexts: Tensor) -> Sequence[Tensor]:
    with torch.enable_grad():
        leaf = contexts.detach().requires_grad_()
        return leaf, part(leaf)
