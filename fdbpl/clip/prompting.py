"""Text features of learned contexts: the exact engine, and the plain way it must equal.

CLIP's text tower is causal, and its feature is read at the end token. Two savings follow that
lose nothing (METHOD: what follows the end token is never seen; start token and context are the
same for every class, so their keys and values are computed once a layer and shared). The engine
packs the tokens of all classes without padding, class names of equal length side by side, and
in the last layer computes only what the end tokens read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn

from fdbpl.clip.tokens import PromptTokens

TextEncoder = Callable[[Tensor], Tensor]
"""Contexts (K, M, W) to unit text features (K, C, D)."""


def prompted_text(tower: Any, tokens: PromptTokens) -> TextEncoder:
    """Return the fastest exact encoder for this text tower."""
    return PlainText(tower, tokens) if why_plain(tower) else SharedPrefixText(tower, tokens)


def why_plain(tower: Any) -> str | None:
    """Say why a tower must take the plain way, or None if it is CLIP's causal transformer."""
    if not isinstance(tower, CLIP | TextTransformer):
        return f"a {type(tower).__name__} is not CLIP's text transformer"
    mask = tower.attn_mask
    if mask is None or not torch.equal(mask, torch.full_like(mask, -torch.inf).triu(1)):
        return "its attention is not causal"
    if getattr(tower, "cls_emb", None) is not None:
        return "it reads its feature at a class token"
    if _pool_type(tower) != "argmax":
        return f"it pools by {_pool_type(tower)!r}, not at the end token"
    if any(type(block) is not ResidualAttentionBlock for block in tower.transformer.resblocks):
        return "its blocks are not the plain residual attention blocks"
    return None


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None))


def _project(tower: Any, features: Tensor) -> Tensor:
    projection = tower.text_projection
    if isinstance(projection, nn.Module):
        features = projection(features)
    elif projection is not None:
        features = features @ projection
    return F.normalize(features, dim=-1)


class PlainText:
    """The field's plain way: the tower's own pass over every class at full length.

    The context takes the place of its starting words' embeddings, and nothing else differs, so
    any tower that embeds tokens by a table will do.
    """

    def __init__(self, tower: Any, tokens: PromptTokens):
        self._tower = tower
        self._first = 1 + len(tokens.context)
        prefix = [tokens.start, *tokens.context]
        ids = torch.zeros(len(tokens.suffixes), tower.context_length, dtype=torch.long)
        for row, suffix in zip(ids, tokens.suffixes, strict=True):
            row[: self._first + len(suffix)] = torch.tensor([*prefix, *suffix])
        self._ids = ids.to(tower.token_embedding.weight.device)

    def __call__(self, contexts: Tensor) -> Tensor:
        """Encode contexts (K, M, W) to unit features (K, C, D)."""
        return torch.stack([self._encode(context) for context in contexts])

    def _encode(self, context: Tensor) -> Tensor:
        def put_in(_module: nn.Module, _ids: object, x: Tensor) -> Tensor:
            shared = context.expand(len(x), -1, -1)
            return torch.cat([x[:, :1], shared, x[:, self._first :]], dim=1)

        tower = self._tower
        hook = tower.token_embedding.register_forward_hook(put_in)
        try:
            features = (tower.encode_text if isinstance(tower, CLIP) else tower)(self._ids)
        finally:
            hook.remove()
        if isinstance(features, tuple):  # a captioner's tower returns its tokens as well
            features = features[0]
        return F.normalize(features, dim=-1)


@dataclass(frozen=True)
class _Group:
    """Classes whose names have the same number of tokens, packed next to one another."""

    length: int
    classes: int
    start: int  # first of its tokens among the packed suffix tokens of one context

    @property
    def tokens(self) -> slice:
        """All its tokens."""
        return slice(self.start, self.start + self.length * self.classes)

    @property
    def ends(self) -> slice:
        """The end token of each class."""
        return slice(self.start + self.length - 1, self.tokens.stop, self.length)


class SharedPrefixText:
    """The exact engine: cut after the end token, prefix shared by all classes, no padding."""

    def __init__(self, tower: Any, tokens: PromptTokens):
        self._tower = tower
        self._blocks = list(tower.transformer.resblocks)
        device = tower.token_embedding.weight.device
        lengths = torch.tensor([len(suffix) for suffix in tokens.suffixes])
        order = torch.argsort(lengths, stable=True)
        self._inverse = torch.argsort(order).to(device)
        self._groups = _group(lengths[order].tolist())
        first = 1 + len(tokens.context)
        packed = [tokens.suffixes[c] for c in order.tolist()]
        ids = torch.tensor([token for suffix in packed for token in suffix], device=device)
        spots = torch.cat([torch.arange(first, first + len(suffix)) for suffix in packed])
        positions = tower.positional_embedding.detach()
        embedding = tower.token_embedding.weight.detach()
        self._suffix = embedding[ids] + positions[spots.to(device)]  # (T, W)
        self._start = embedding[tokens.start] + positions[0]  # (W)
        self._context_positions = positions[1:first]  # (M, W)
        self._ends = (lengths[order].cumsum(0) - 1).to(device)  # (C), among packed tokens

    def __call__(self, contexts: Tensor) -> Tensor:
        """Encode contexts (K, M, W) to unit features (K, C, D)."""
        sets = len(contexts)
        prefix = torch.cat(
            [self._start.expand(sets, 1, -1), contexts + self._context_positions], dim=1
        )
        suffix = self._suffix.expand(sets, -1, -1)
        for block in self._blocks[:-1]:
            prefix, suffix = self._layer(block, prefix, suffix)
        ends = self._last_layer(self._blocks[-1], prefix, suffix)
        features = _project(self._tower, self._tower.ln_final(ends))
        return features[:, self._inverse]

    def _layer(self, block: Any, prefix: Tensor, suffix: Tensor) -> tuple[Tensor, Tensor]:
        """One layer over the prefix (K, P, W) and the packed suffixes (K, T, W)."""
        width = prefix.shape[1]
        x = torch.cat([prefix, suffix], dim=1)
        q, k, v = _heads(block.attn, block.ln_1(x))
        shared = (k[:, :, :width], v[:, :, :width])
        own = F.scaled_dot_product_attention(q[:, :, :width], *shared, is_causal=True)
        q, k, v = q[:, :, width:], k[:, :, width:], v[:, :, width:]
        mixed = [_attend(q[:, :, g.tokens], k, v, shared, g) for g in self._groups]
        x = x + block.ls_1(_merge(block.attn, torch.cat([own, *mixed], dim=2)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
        return x[:, :width], x[:, width:]

    def _last_layer(self, block: Any, prefix: Tensor, suffix: Tensor) -> Tensor:
        """Return the last layer's output at the end tokens (K, C, W), all that is read of it."""
        width = prefix.shape[1]
        q, k, v = _heads(block.attn, block.ln_1(torch.cat([prefix, suffix], dim=1)))
        shared = (k[:, :, :width], v[:, :, :width])
        q, k, v = q[:, :, width:], k[:, :, width:], v[:, :, width:]
        mixed = [_attend(q[:, :, g.ends], k, v, shared, g) for g in self._groups]
        x = suffix[:, self._ends]
        x = x + block.ls_1(_merge(block.attn, torch.cat(mixed, dim=2)))
        return x + block.ls_2(block.mlp(block.ln_2(x)))


def _group(lengths: list[int]) -> list[_Group]:
    """Group ascending lengths into runs of equal length."""
    groups, start = [], 0
    for length in sorted(set(lengths)):
        classes = lengths.count(length)
        groups.append(_Group(length, classes, start))
        start += length * classes
    return groups


def _heads(attention: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project (K, N, W) to queries, keys and values of (K, heads, N, W / heads)."""
    qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    sets, count, _ = qkv.shape
    q, k, v = qkv.view(sets, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


def _merge(attention: nn.MultiheadAttention, mixed: Tensor) -> Tensor:
    """Join the heads of (K, heads, N, d) and project to (K, N, W)."""
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


def _attend(
    q: Tensor, k: Tensor, v: Tensor, shared: tuple[Tensor, Tensor], group: _Group
) -> Tensor:
    """Attend from one group's tokens to the shared prefix and, causally, to their own class.

    Args:
        q: (K, heads, queries, d): all tokens of every class, or only each class's last.
        k: (K, heads, T, d), the keys of all packed suffix tokens.
        v: the same for the values.
        shared: keys and values (K, heads, P, d) of the prefix, never copied per class.
        group: which tokens belong together.

    Returns:
        (K, heads, queries, d).
    """
    sets, heads, _, depth = q.shape
    by_class = (sets, heads, group.classes, -1, depth)
    own_q, own_k = q.reshape(by_class), k[:, :, group.tokens].reshape(by_class)
    to_prefix = q @ shared[0].transpose(-2, -1)  # (K, h, queries, P)
    to_own = own_q @ own_k.transpose(-2, -1)  # (K, h, classes, queries a class, length)
    if own_q.shape[3] > 1:
        later = torch.ones(group.length, group.length, dtype=torch.bool, device=q.device).triu(1)
        to_own = to_own.masked_fill(later, -torch.inf)
    scores = torch.cat([to_prefix, to_own.flatten(2, 3)], dim=-1) * depth**-0.5
    on_prefix, on_own = scores.softmax(dim=-1).split([shared[0].shape[2], group.length], dim=-1)
    own_v = v[:, :, group.tokens].reshape(by_class)
    return on_prefix @ shared[1] + (on_own.reshape(to_own.shape) @ own_v).flatten(2, 3)
