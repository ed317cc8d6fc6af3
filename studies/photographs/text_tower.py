"""What is trained: a text tower made of words, and a projection of frozen image features.

A picture's feature h (E) before the projection enters as

    x = P (unit(h) / s),    P = I - m m^T

with s the deviation of each number over all pictures, and m the direction of the mean of unit(h)/s:
what all pictures share says nothing. P and s are linear and go into the projection afterwards,
which so needs no bias.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from fdbpl.clip import small

Floats = NDArray[np.float32]


class TextTower(nn.Module):
    """The text tower of one of open_clip's networks, its token embedding made of words.

    Args:
        network: a CLIP of open_clip, whose image tower is not used.
        tokens: those with a vector of their own beside their word's.
    """

    words: Tensor
    slots: Tensor
    rows: Tensor

    def __init__(self, network: Any, tokens: Sequence[int]):
        super().__init__()
        from safetensors.torch import load_file

        words = load_file(small.WORDS)
        self.network = network
        self.register_buffer("words", words["vectors"].float() * words["scale"])
        width = network.ln_final.weight.shape[0]
        rows = torch.tensor(tokens)
        slots = torch.zeros(len(self.words), dtype=torch.long)
        slots[rows] = torch.arange(1, len(tokens) + 1)
        self.register_buffer("slots", slots)
        self.register_buffer("rows", rows)
        self.expand = nn.Parameter(0.03 * torch.randn(self.words.shape[1], width))
        self.delta = nn.Parameter(torch.zeros(len(tokens) + 1, width))
        with torch.no_grad():
            self.delta[1:][-2:] = 0.02 * torch.randn(2, width)  # start and end are no words

    def forward(self, tokens: Tensor) -> Tensor:
        """Return unit features (n, D) of tokens (n, L): short captions do not pay for long ones."""
        order = tokens.argmax(1).argsort()
        parts = [self._encode(part) for part in tokens[order].chunk(3)]
        return torch.cat(parts)[order.argsort()]

    def _encode(self, tokens: Tensor) -> Tensor:
        end = tokens.argmax(1)
        length = int(end.max()) + 1
        used, where = torch.unique(tokens[:, :length], return_inverse=True)
        embedding = self.words[used] @ self.expand + self.delta[self.slots[used]]
        net = self.network
        x = embedding[where] + net.positional_embedding[:length]
        x = net.transformer(x, attn_mask=net.attn_mask[:length, :length])
        ends = net.ln_final(x[torch.arange(len(x)), end])
        return normalize(ends @ net.text_projection, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what `fdbpl.clip.small.assemble` takes, but for the image tower's projection."""
        text = {
            name: tensor
            for name, tensor in self.network.state_dict().items()
            if not name.startswith("visual.") and name != small.EMBEDDING
        }
        return {
            **text,
            small.EXPAND: self.expand,
            small.ROWS: self.rows,
            small.DELTA: self.delta[1:],
        }


STREAM = 0.1
"""What the residual stream is scaled by after training."""

INTO_STREAM = (small.EXPAND, small.DELTA, "positional_embedding", ".attn.out_proj.", ".mlp.c_proj.")
"""Parts of the names of tensors that are added to the residual stream."""


def with_small_stream(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a text tower's tensors with a residual stream scaled by STREAM, which changes nothing.

    Every reader of the stream normalises it first; only the normalisation's epsilon is seen. But
    contexts are added to it: at the learning rates of the field, which are for token embeddings as
    short as CLIP's, longer ones would not move.
    """
    return {
        name: tensor * STREAM if any(part in name for part in INTO_STREAM) else tensor
        for name, tensor in tensors.items()
    }


class Projection(nn.Module):
    """The image side: x W of features, and the one matrix that does all of it.

    Args:
        features: (n, E) of all pictures, for s and m.
        width: D.
    """

    scale: Tensor
    mean: Tensor

    def __init__(self, features: Floats, width: int):
        super().__init__()
        scale = features.std(0, dtype=np.float64) + 1e-3
        mean = (features / scale).mean(0)
        self.register_buffer("scale", torch.from_numpy(scale).float())
        self.register_buffer("mean", normalize(torch.from_numpy(mean), dim=0).float())
        dim = features.shape[1]
        self.weight = nn.Parameter(torch.randn(dim, width) * dim**-0.5)

    def inputs(self, features: Tensor) -> Tensor:
        """Return x (n, E) of features (n, E), of about unit length."""
        scaled = features / self.scale
        return (scaled - (scaled @ self.mean)[:, None] * self.mean) / math.sqrt(len(self.mean))

    def matrix(self) -> Tensor:
        """Return the matrix (D, E) that takes unit(h) to what is normalised to the feature."""
        weight = self.weight - self.mean[:, None] * (self.mean @ self.weight)
        return (weight / self.scale[:, None]).T
