"""Text features of learned contexts: which way a tower takes, and the plain way."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn

from fdbpl.clip.shared_prefix import Precision, SharedPrefixText
from fdbpl.clip.tokens import PromptTokens

TextEncoder = Callable[[Tensor], Tensor]
"""Contexts (K, M, W) to unit text features (K, C, D)."""


def prompted_text(
    tower: Any, tokens: PromptTokens, precision: Precision = "fp32", memory_mb: int | None = None
) -> TextEncoder:
    """Return the fastest exact encoder for this text tower.

    The plain way of other towers knows neither precision nor budget.
    """
    if why_plain(tower):
        return PlainText(tower, tokens)
    return SharedPrefixText(tower, tokens, precision, memory_mb)


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
    return why_other(tower.transformer.resblocks)


def why_other(blocks: Iterable[Any]) -> str | None:
    """Say why layers are not those that `FrozenBlock` computes, or None if they are."""
    for block in blocks:
        if type(block) is not ResidualAttentionBlock:
            return "its blocks are not the plain residual attention blocks"
        if not isinstance(block.mlp.gelu, nn.GELU | QuickGELU):
            return f"its activation is {type(block.mlp.gelu).__name__}"
        for norm in (block.ln_1, block.ln_2):
            if not isinstance(norm, nn.LayerNorm):
                return f"its norms are {type(norm).__name__}"
    return None


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None))


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
