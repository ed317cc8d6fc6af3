"""Text features of learned contexts: which way a tower takes, and the plain way."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, TextTransformer, Transformer
from torch import Tensor, nn

from fdbpl.clip.shared_prefix import Precision, SharedPrefixText, by_layer
from fdbpl.clip.tokens import PromptTokens
from fdbpl.system.errors import UserError

TextEncoder = Callable[[Tensor], Tensor]
"""Contexts (K, M, W), or deep ones (K, J, M, W), to unit text features (K, C, D)."""


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
    any tower that embeds tokens by a table will do. A deep one takes the place of what enters
    later layers as well, which must be open_clip's.
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
        """Encode contexts (K, M, W), or deep ones (K, J, M, W), to unit features (K, C, D).

        Raises:
            UserError: contexts deeper than the tower, or deep ones for layers not open_clip's.
        """
        before: list[nn.Module] = [self._tower.token_embedding]
        if contexts.ndim == 4:
            before += _blocks(self._tower)[:-1]
        layers = by_layer(contexts, len(before))
        return torch.stack([self._encode(before, each) for each in zip(*layers, strict=True)])

    def _encode(self, before: Sequence[nn.Module], layers: Sequence[Tensor]) -> Tensor:
        """Encode each layer's context (M, W), put into the output of what is before the layer."""
        tower = self._tower
        with ExitStack() as hooks:
            for module, context in zip(before, layers, strict=False):
                hook = partial(self._put_in, context)
                hooks.callback(module.register_forward_hook(hook).remove)
            features = (tower.encode_text if isinstance(tower, CLIP) else tower)(self._ids)
        if isinstance(features, tuple):  # a captioner's tower returns its tokens as well
            features = features[0]
        return F.normalize(features, dim=-1)

    def _put_in(self, context: Tensor, _module: nn.Module, _inputs: object, x: Tensor) -> Tensor:
        shared = context.expand(len(x), -1, -1)
        return torch.cat([x[:, :1], shared, x[:, self._first :]], dim=1)


def _blocks(tower: Any) -> list[nn.Module]:
    transformer = getattr(tower, "transformer", None)
    if not isinstance(transformer, Transformer) or not transformer.batch_first:
        raise UserError(
            f"deep contexts for a {type(tower).__name__}, wanted a tower of open_clip's layers, "
            "batch first. Learn a context for the first layer alone, or take another student."
        )
    return list(transformer.resblocks)
