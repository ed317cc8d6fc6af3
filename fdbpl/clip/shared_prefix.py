"""Text features of learned contexts, exactly, at the least cost.

CLIP's text tower is causal, and its feature is read at the end token. Two savings follow that
lose nothing: what follows the end token is never seen; and start token and context are the same
for every class, so their keys and values are computed once a layer and shared. The tokens of all
classes and contexts lie in one matrix without padding, so that a layer is four large products.

A deep context has tokens for each of the first J layers, as in IVLP (Rasheed et al. 2023), MaPLe
and PromptSRC: they take the place of what the layer before made of its own. They are the same for
every class, so what is shared stays shared.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fdbpl.clip.block import FrozenBlock, Kept
from fdbpl.clip.in_parts import CACHED, SHARES, held, in_parts
from fdbpl.clip.packing import Packing, group_classes, pack
from fdbpl.clip.tokens import PromptTokens
from fdbpl.system.errors import UserError

Precision = Literal["fp32", "bf16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class _Part:
    """Consecutive classes, by ascending length: where their tokens lie, and what they start as."""

    packing: Packing
    embedded: Tensor  # (rows of the groups, W)

    @property
    def classes(self) -> int:
        return sum(group.classes for group in self.packing.groups)


class SharedPrefixText:
    """The exact engine: cut after the end token, prefix shared by all classes, no padding.

    Args:
        tower: CLIP's text tower, on its device.
        tokens: of the prompts.
        precision: of products and attention; residuals, norms and features are in float32.
            There is no fp16: the towers' residuals leave its range.
        memory_mb: for what the backward pass needs, in MiB. Parts of the classes that the budget
            does not hold are computed again in the backward pass. Equal but for the order of sums,
            as are the parts that a processor's caches want.
    """

    def __init__(
        self,
        tower: Any,
        tokens: PromptTokens,
        precision: Precision = "fp32",
        memory_mb: int | None = None,
    ):
        dtype = _DTYPES[precision]
        self._tower = tower
        blocks = tower.transformer.resblocks
        self._blocks = [FrozenBlock(block, dtype) for block in blocks]
        self._memory = None if memory_mb is None else memory_mb << 20
        width, layers = tower.positional_embedding.shape[1], len(blocks)
        self._widest = 16 * width  # bytes of a token where it is widest, in float32
        self._token_bytes = width * (layers * (8 + 9 * dtype.itemsize) + 16 * dtype.itemsize)
        device = tower.token_embedding.weight.device
        lengths = torch.tensor([len(suffix) for suffix in tokens.suffixes])
        order = torch.argsort(lengths, stable=True)
        self._inverse = torch.argsort(order).to(device)
        self._lengths: list[int] = lengths[order].tolist()
        self._first = 1 + len(tokens.context)
        packed = [tokens.suffixes[c] for c in order.tolist()]
        ids = torch.tensor([token for suffix in packed for token in suffix], device=device)
        spots = torch.cat([self._first + torch.arange(length) for length in self._lengths])
        positions = tower.positional_embedding.detach()
        embedding = tower.token_embedding.weight.detach()
        self._embedded = embedding[ids] + positions[spots.to(device)]  # (T, W)
        self._start = embedding[tokens.start] + positions[0]  # (W)
        self._context_positions = positions[1 : self._first]  # (M, W)
        self._parts: dict[int, list[_Part]] = {}

    def __call__(self, contexts: Tensor) -> Tensor:
        """Encode contexts (K, M, W), or deep ones (K, J, M, W), to unit features (K, C, D).

        Raises:
            UserError: contexts deeper than the tower.
        """
        first, *deeper = by_layer(contexts, len(self._blocks))
        layers = torch.stack([first + self._context_positions, *deeper], dim=1)
        start = self._start.expand(*layers.shape[:2], 1, -1)
        sets = len(contexts)
        prefixes = torch.cat([start, layers], dim=2)
        ends = in_parts(prefixes, self, self.parts(sets), self.held(sets))
        return self._project(ends[:, self._inverse])

    def _project(self, ends: Tensor) -> Tensor:
        projection = self._tower.text_projection
        features = self._tower.ln_final(ends)
        if isinstance(projection, torch.nn.Module):
            features = projection(features)
        elif projection is not None:
            features = features @ projection
        return torch.nn.functional.normalize(features, dim=-1)

    def parts(self, sets: int) -> list[_Part]:
        """Split the classes for `sets` contexts, as caches and the budget want it."""
        if sets not in self._parts:
            limit, allowed = len(self._embedded), self._allowed(sets)
            if limit > allowed:
                limit = allowed // SHARES
            if self._embedded.device.type == "cpu":
                limit = min(limit, CACHED // self._widest // sets)
            self._parts[sets] = list(self._split(sets, max(1, limit)))
        return self._parts[sets]

    def held(self, sets: int) -> int:
        """Return how many parts the budget holds, from the first on, while another is worked on."""
        sizes = [self._first + len(part.embedded) // sets for part in self.parts(sets)]
        return held(sizes, self._allowed(sets))

    def _allowed(self, sets: int) -> int:
        """Return the tokens of each context whose needs the budget holds."""
        if self._memory is None:
            return sys.maxsize
        return self._memory // self._token_bytes // sets

    def _split(self, sets: int, limit: int) -> Iterator[_Part]:
        """Yield parts of at most `limit` tokens a context, at least one class each."""
        device, width = self._embedded.device, self._embedded.shape[1]
        first, row = 0, 0
        while first < len(self._lengths):
            last, size = first, 0
            while last < len(self._lengths) and (
                last == first or size + self._lengths[last] <= limit
            ):
                size += self._lengths[last]
                last += 1
            groups = group_classes(self._lengths[first:last], device, sets * width)
            embedded = self._embedded[row : row + size]
            rows = [embedded[group.rows].repeat(sets, 1) for group in groups]
            yield _Part(pack(sets, self._first, groups), torch.cat(rows))
            first, row = last, row + size

    def forward(self, prefixes: Tensor, part: _Part, *, keep: bool) -> tuple[Tensor, list[Kept]]:
        """Return the end tokens (K, C, W) after the last layer, and what `backward` needs.

        Of the prefixes (K, J, P, W) the first layer is given its own; the next ones take the
        contexts of theirs, and keep the start token that is there.
        """
        packing, depth = part.packing, prefixes.shape[1]
        x = torch.cat([prefixes[:, 0].flatten(0, 1), part.embedded])
        layers: list[Kept] = []
        for number, block in enumerate(self._blocks):
            if 0 < number < depth:  # the layer before keeps nothing of what it returned
                _contexts(x, packing).copy_(prefixes[:, number, 1:])
            layer = block.forward_ends if block is self._blocks[-1] else block.forward
            x, kept = layer(x, packing)
            if keep:
                layers.append(kept)
        ends = [
            rows.view(packing.sets, -1, x.shape[1]) for rows in torch.split(x, packing.end_rows)
        ]
        return torch.cat(ends, dim=1), layers

    def backward(self, grad: Tensor, kept: Sequence[Kept], prefixes: Tensor, part: _Part) -> Tensor:
        """Return the gradient on the prefixes (K, J, P, W) from that on the ends (K, C, W)."""
        packing, depth = part.packing, prefixes.shape[1]
        groups = torch.split(grad, [group.classes for group in packing.groups], dim=1)
        x = torch.cat([rows.flatten(0, 1) for rows in groups])
        found = torch.zeros_like(prefixes)
        for number in reversed(range(len(self._blocks))):
            block = self._blocks[number]
            layer = block.backward_ends if block is self._blocks[-1] else block.backward
            x = layer(x, kept[number], packing)
            if 0 < number < depth:
                replaced = _contexts(x, packing)
                found[:, number, 1:] = replaced
                replaced.zero_()  # what the layer before made of its own context, nobody saw
        found[:, 0] = x[: packing.rows[0]].view(packing.sets, -1, x.shape[1])
        return found


def by_layer(contexts: Tensor, layers: int) -> tuple[Tensor, ...]:
    """Return the context (K, M, W) of each layer that has one, of (K, M, W) or (K, J, M, W).

    Raises:
        UserError: there are more of them than the tower's `layers`, or none.
    """
    if contexts.ndim == 3:
        return (contexts,)
    depth = contexts.shape[1]
    if not 0 < depth <= layers:
        raise UserError(
            f"contexts for {depth} layers of a text tower of {layers}, wanted 1 to {layers}. "
            "Set the depth of the prompts to that."
        )
    return contexts.unbind(1)


def _contexts(x: Tensor, packing: Packing) -> Tensor:
    """Return the rows (K, M, W) of the contexts, between the start tokens and the classes."""
    return x[: packing.rows[0]].view(packing.sets, -1, x.shape[1])[:, 1:]
