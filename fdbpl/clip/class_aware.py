"""Text features under a context whose tokens become each class's own in a middle layer.

As of TCP (Yao et al. 2024): up to a layer every class has the shared context; there its tokens are
replaced by the class's. From then on no prefix is shared, so the tower runs over every class. It is
cut after the longest prompt, which loses nothing, since no token sees what follows it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import why_plain
from fdbpl.clip.tokens import PromptTokens
from fdbpl.system.errors import UserError

SHARE = (2, 3)
"""Of a tower's layers, those before the tokens are replaced: 8 of 12, as in the paper."""


class ClassAwareText:
    """Contexts and tokens of each class to its text features.

    Raises:
        UserError: the text tower is not CLIP's causal transformer.
    """

    def __init__(self, clip: ClipModel, tokens: PromptTokens):
        tower: Any = clip.text_tower
        why = why_plain(tower)
        if why:
            raise UserError(
                f"{clip.identity['architecture']} cannot take tokens of each class in a middle "
                f"layer: {why}. Leave tcp out of methods, or take a student with CLIP's own text "
                "transformer."
            )
        self._tower, self._first = tower, 1 + len(tokens.context)
        lengths = torch.tensor([len(suffix) for suffix in tokens.suffixes])
        ids = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.long)
        for row, suffix in zip(ids, tokens.suffixes, strict=True):
            row[: len(suffix)] = torch.tensor(suffix)
        embedding = tower.token_embedding.weight.detach()
        device = embedding.device
        self._start, self._suffixes = embedding[tokens.start], embedding[ids.to(device)]
        self._ends = (self._first + lengths - 1).to(device)
        length = self._first + ids.shape[1]
        self._positions = tower.positional_embedding.detach()[:length]
        self._mask = tower.attn_mask[:length, :length]
        self._layer = len(tower.transformer.resblocks) * SHARE[0] // SHARE[1]

    def __call__(self, contexts: Tensor, own: Tensor) -> Tensor:
        """Encode contexts (K, M, W) and tokens of each class (K, C, M, W) to unit (K, C, D)."""
        sets, classes = own.shape[:2]
        shared = contexts[:, None].expand(-1, classes, -1, -1)
        start = self._start.expand(sets, classes, 1, -1)
        x = torch.cat([start, shared, self._suffixes.expand(sets, -1, -1, -1)], dim=2)
        x = (x + self._positions).flatten(0, 1)
        for number, block in enumerate(self._tower.transformer.resblocks):
            if number == self._layer:
                x = torch.cat([x[:, :1], own.flatten(0, 1), x[:, self._first :]], dim=1)
            x = block(x, attn_mask=self._mask)
        rows = torch.arange(len(x), device=x.device)
        ends = x[rows, self._ends.repeat(sets)].view(sets, classes, -1)
        return F.normalize(_projected(self._tower, self._tower.ln_final(ends)), dim=-1)


def _projected(tower: Any, features: Tensor) -> Tensor:
    projection = tower.text_projection
    if projection is None:
        return features
    found: Tensor = (
        projection(features) if isinstance(projection, torch.nn.Module) else features @ projection
    )
    return found
