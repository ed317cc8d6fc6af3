"""A tiny CLIP model with open_clip alone, its learned context written out plainly."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from fdbpl.playground import tiny

Pixels = NDArray[np.uint8]
START = "a photo of a"


class Model:
    """One of the tiny pair, frozen."""

    def __init__(self, name: str, weights: Path) -> None:
        tiny.register()
        self.clip = open_clip.create_model(name)
        state = {
            k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()
        }
        self.clip.load_state_dict(state, strict=True)
        self.clip.eval().requires_grad_(False)
        self.tokenizer = open_clip.get_tokenizer(name)
        self.size = tiny.image_size(name)
        self.scale = self.clip.logit_scale.exp().item()
        visual = self.clip.visual
        self.mean, self.std = (
            torch.tensor(v).view(3, 1, 1) for v in (visual.image_mean, visual.image_std)
        )

    def images(self, pixels: Pixels, boxes: Sequence[tuple[int, ...]] | None = None) -> Tensor:
        """Return normalised features (n, dim) of images (n, S, S, 3), each seen through its box."""
        features = []
        for start in range(0, len(pixels), 256):
            views = [
                Image.fromarray(pixels[i]).resize(
                    (self.size, self.size), Image.Resampling.BICUBIC, boxes[i] if boxes else None
                )
                for i in range(start, min(start + 256, len(pixels)))
            ]
            x = torch.from_numpy(np.stack([np.asarray(v) for v in views])).permute(0, 3, 1, 2)
            x = (x.float() / 255 - self.mean) / self.std
            with torch.inference_mode():
                features.append(functional.normalize(self.clip.encode_image(x), dim=1))
        return torch.cat(features).clone()

    def names(self, template: str, names: Sequence[str]) -> Tensor:
        """Return normalised features (classes, dim) of the template filled with each name."""
        with torch.no_grad():
            tokens = self.tokenizer([template.format(name) for name in names])
            return functional.normalize(self.clip.encode_text(tokens), dim=1)

    def prompted(self, names: Sequence[str]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return CoOp's first context (4, width), and what turns a context into class features."""
        tokens = self.tokenizer([f"{START} {name}." for name in names])
        end = tokens.argmax(1)
        length = int(end.max()) + 1
        words = self.clip.token_embedding(tokens[:, :length])
        positions = self.clip.positional_embedding[:length]
        mask = self.clip.attn_mask[:length, :length]

        def features(context: Tensor) -> Tensor:
            shared = context.expand(len(names), -1, -1)
            x = torch.cat([words[:, :1], shared, words[:, 5:]], 1) + positions
            x = self.clip.ln_final(self.clip.transformer(x, attn_mask=mask))
            return functional.normalize(
                x[torch.arange(len(x)), end] @ self.clip.text_projection, dim=1
            )

        return words[0, 1:5].clone(), features
