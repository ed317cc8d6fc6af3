"""An image tower under learned tokens the plain way: open_clip's own modules, one after another.

What `PromptedImage` computes faster and for several runs at once, as a module of one run: to be
written as a graph, and to be compared with.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fdbpl.classify.decision import ImagePrompts


class PlainPrompted(nn.Module):
    """An image tower and its learned tokens.

    Args:
        tower: open_clip's VisionTransformer.
        prompts: tokens (J, P, W), and the layer at which they enter.
    """

    def __init__(self, tower: nn.Module, prompts: ImagePrompts) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("tokens", torch.from_numpy(np.array(prompts.tokens, np.float32)))
        self._first = prompts.first_layer

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features (B, D), not of unit length, of normalised pixels (B, 3, H, W)."""
        return prompted_plainly(self.tower, self.get_buffer("tokens"), pixels, self._first)


def prompted_plainly(tower: Any, tokens: Tensor, pixels: Tensor, first: int = 0) -> Tensor:
    """Encode pixels (B, 3, H, W) under tokens (J, P, W) to features (B, D), not of unit length."""

    def put_in(x: Tensor, layer: int) -> Tensor:
        added = tokens[layer - first].to(x.dtype).expand(x.shape[0], -1, -1)
        return torch.cat([x[:, :own], added], dim=1)

    x = tower.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
    x = x + tower.positional_embedding.to(x.dtype)
    own, learned = x.shape[1], range(first, first + len(tokens))
    x = tower.ln_pre(put_in(x, 0) if 0 in learned else x)
    for layer, block in enumerate(tower.transformer.resblocks):
        x = block(put_in(x, layer) if layer in learned and layer > 0 else x)
    found: Tensor = tower._pool(x[:, :own])[0] @ tower.proj
    return found
