"""The plain text way where it does not fit into memory: in parts, some of them run twice."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

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
        found = [part(contexts) for part in self.parts[: self.held]]
        again = (
            checkpoint(part, contexts, use_reentrant=False) for part in self.parts[self.held :]
        )
        return torch.cat([*found, *again], dim=1)
