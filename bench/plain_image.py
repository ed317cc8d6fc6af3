"""An image tower under learned tokens, put in between open_clip's own modules."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_image(tower: Any, prompts: Tensor, pixels: Tensor, first: int = 0) -> Tensor:
    """Encode pixels (B, 3, H, W) under prompts (depth, P, W) to unit features (B, D).

    As `PromptedImage` of one run, which is compared with this.
    """

    def put_in(x: Tensor, layer: int) -> Tensor:
        added = prompts[layer - first].to(x.dtype).expand(len(x), -1, -1)
        return torch.cat([x[:, :own], added], dim=1)

    x = tower.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
    x = x + tower.positional_embedding.to(x.dtype)
    own, learned = x.shape[1], range(first, first + len(prompts))
    x = tower.ln_pre(put_in(x, 0) if 0 in learned else x)
    for layer, block in enumerate(tower.transformer.resblocks):
        x = block(put_in(x, layer) if layer in learned and layer > 0 else x)
    return F.normalize(tower._pool(x[:, :own])[0] @ tower.proj, dim=-1)
