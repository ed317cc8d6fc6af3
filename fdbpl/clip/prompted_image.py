"""Image features under learned tokens, exactly, at the least cost.

Tokens are learned at `depth` consecutive layers, as of VPT-deep (Jia et al. 2022), IVLP, MaPLe and
PromptSRC: P tokens stand behind the class token and the N patches; at each further layer its own
tokens replace those of the layer before, and after the last of these layers they stay. At layer 0
they pass the tower's first norm, `ln_pre`, as its patches do. Where they enter at a later layer,
nothing below it depends on them.

Two savings lose nothing. What becomes of tokens that the next layer replaces is never read, so the
images only attend to them: keys and values of a run's tokens are computed once, and all its images
share them. And of the last layer only what the tower pools is computed after attention.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from open_clip.transformer import PatchDropout, VisionTransformer
from torch import Tensor

from fdbpl.clip import small
from fdbpl.clip.block import FrozenBlock, Kept
from fdbpl.clip.in_parts import CACHED, SHARES, held, in_parts
from fdbpl.clip.model import ClipModel
from fdbpl.clip.packing import Packing, group_images, pack
from fdbpl.clip.prompting import why_other
from fdbpl.clip.shared_prefix import Precision
from fdbpl.system.errors import UserError


def why_not(tower: Any) -> str | None:
    """Say why an image tower cannot take learned tokens, or None if it can."""
    if not isinstance(tower, VisionTransformer):
        return f"a {type(tower).__name__} is not open_clip's VisionTransformer"
    if tower.attn_pool is not None:
        return "it pools by attention"
    if tower.pool_type not in ("tok", "avg"):
        return f"it pools by {tower.pool_type!r}"
    if tower.training and isinstance(tower.patch_dropout, PatchDropout):
        return "it is in training, and drops patches"
    return why_other(tower.transformer.resblocks)


@dataclass(frozen=True)
class _Part:
    """Some images of every run, and where their tokens and the learned ones lie.

    Attributes:
        tokens: (S, b, 1 + N, W) activations.
        shared: the layers, of those that learned tokens are for, of which all images share them.
        beside: of these layers: each run's P learned tokens, and the images, which see them.
        among: of the layers after: images of 1 + N + P tokens.
    """

    tokens: Tensor
    shared: int
    beside: Packing
    among: Packing


class PromptedImage:
    """The image tower of a CLIP model under learned tokens, for S independent runs at once.

    Args:
        clip: whose image tower it is; all its weights are frozen.
        first: the layer at which the learned tokens enter, from 0.
        precision: of products and attention; residuals, norms and features stay in the weights'
            own, float32.
        memory_mb: for what the backward pass needs, in MiB. Parts of the images that the budget
            does not hold are computed again in the backward pass. Equal but for the order of sums,
            as are the parts that a processor's caches want.

    Raises:
        UserError: a tower that `why_not` names, or one without the layer `first`.
    """

    def __init__(
        self,
        clip: ClipModel,
        *,
        first: int = 0,
        precision: Precision = "fp32",
        memory_mb: int | None = None,
    ):
        tower: Any = clip.network.get_submodule("visual")
        name, why = clip.identity["architecture"], why_not(tower)
        if why:
            raise UserError(
                f"{name} cannot take learned tokens in its image tower: {why}. Wanted open_clip's "
                "VisionTransformer with plain blocks, that reads its feature at the class token or "
                f"the mean of the patches, such as ViT-B-32 or {small.VIT}, which comes with fdbpl."
            )
        blocks = tower.transformer.resblocks
        if not 0 <= first < len(blocks):
            raise UserError(
                f"Learned tokens enter {name}'s image tower at layer {first}, but it has "
                f"{len(blocks)}. Wanted 0 to {len(blocks) - 1}."
            )
        weights = tower.class_embedding.dtype
        dtype = torch.bfloat16 if precision == "bf16" else weights
        frozen = [FrozenBlock(block, dtype) for block in blocks]
        self._tower, self._first = tower, first
        self._below, self._blocks = frozen[:first], frozen[first:]
        self._memory = None if memory_mb is None else memory_mb << 20
        self._itemsize, self._dtype = dtype.itemsize, weights
        self.width, self._heads = tower.transformer.width, blocks[0].attn.num_heads
        self._hidden: int = blocks[0].mlp.c_fc.out_features

    def activations(self, pixels: Tensor) -> Tensor:
        """Bring pixels (..., 3, H, W) to what the layer `first` is given (..., 1 + N, W)."""
        with torch.no_grad():
            x = self._tower._embeds(pixels.flatten(0, -4))
            parts = []
            for part in torch.split(x, self._limit(1, x, x.shape[1])):
                packing = _packing(1, 0, *part.shape[:2], part.device)
                rows = part.flatten(0, 1)
                for block in self._below:
                    rows = block.forward(rows, packing)[0]
                parts.append(rows.view_as(part))
        return torch.cat(parts).view(*pixels.shape[:-3], *x.shape[1:])

    def __call__(self, prompts: Tensor, activations: Tensor) -> Tensor:
        """Encode images to unit features (S, B, D), differentiable in the prompts alone.

        Args:
            prompts: (S, depth, P, W) learned tokens of the layers from `first` on; none where
                depth or P is 0.
            activations: (S, B, 1 + N, W) each run's images, as `activations` returns them.

        Raises:
            UserError: the tower has fewer layers than there are tokens for.
            ValueError: other runs of prompts than of images.
        """
        if len(prompts) != len(activations):
            raise ValueError(f"{len(prompts)} runs of prompts, {len(activations)} of images")
        depth, layers = prompts.shape[1], len(self._blocks)
        if depth > layers:
            raise UserError(
                f"Learned tokens for {depth} layers from layer {self._first} on, but the image "
                f"tower has {layers} from there. Wanted at most {layers}."
            )
        if depth == 0:
            prompts = prompts.new_empty(len(prompts), 1, 0, self.width)
        if self._first == 0:
            prompts = torch.cat([self._tower.ln_pre(prompts[:, :1]), prompts[:, 1:]], dim=1)
        parts, hold = self.parts(prompts, activations)
        return self._project(in_parts(prompts, self, parts, hold))

    def _project(self, read: Tensor) -> Tensor:
        """Bring the tokens that are pooled (S, B, n, W) to unit features."""
        tower = self._tower
        if tower.final_ln_after_pool:
            pooled = tower.ln_post(read.mean(dim=2))
        else:
            pooled = tower.ln_post(read).mean(dim=2)
        if tower.proj is not None:
            pooled = pooled @ tower.proj
        return torch.nn.functional.normalize(pooled, dim=-1)

    def parts(self, prompts: Tensor, activations: Tensor) -> tuple[list[_Part], int]:
        """Split the images as caches and the budget want it; count the parts that it holds."""
        sets, images, length = activations.shape[:3]
        depth, count = prompts.shape[1:3]
        # Nothing reads what becomes of tokens that are replaced, or that leave the last layer.
        shared = depth if depth == len(self._blocks) else depth - 1
        allowed = sys.maxsize
        if self._memory is not None:
            allowed = self._memory // self._image_bytes(length + count) // sets
        limit = images if images <= allowed else allowed // SHARES
        limit = max(1, min(limit, self._limit(sets, activations, length + count)))
        parts = [
            _Part(
                tokens,
                shared,
                _packing(sets, count, tokens.shape[1], length, tokens.device),
                _packing(sets, 0, tokens.shape[1], length + count, tokens.device),
            )
            for tokens in torch.split(activations, limit, dim=1)
        ]
        return parts, held([part.tokens.shape[1] for part in parts], allowed)

    def _image_bytes(self, length: int) -> int:
        """Return what an image of so many tokens keeps, and what working on it takes."""
        width, size = self.width, self._itemsize
        a_layer = (
            2 * self._dtype.itemsize * (width + 2)  # what the norms were given, and its moments
            + size * (3 * width + self._hidden + self._heads * length)
        )
        return length * (len(self._blocks) * a_layer + 4 * self._hidden * size)

    def _limit(self, sets: int, x: Tensor, length: int) -> int:
        """Return the images of each run that a processor's caches hold."""
        if x.device.type != "cpu":
            return sys.maxsize
        return max(1, CACHED // (self._hidden * self._dtype.itemsize * length) // sets)

    def forward(self, prompts: Tensor, part: _Part, *, keep: bool) -> tuple[Tensor, list[Kept]]:
        """Return the tokens that are pooled (S, b, n, W), and what `backward` needs.

        The prompts are (S, depth, P, W), of depth at least 1; those of layer 0 have passed the
        tower's first norm.
        """
        top = part.beside.rows[0]
        sets, images, length, width = part.tokens.shape
        start = part.tokens.to(prompts.dtype).flatten(0, 2)
        x = torch.cat([prompts.new_empty(top, width), start])
        layers: list[Kept] = []
        for layer in range(len(self._blocks)):
            if layer < part.shared:
                x[:top] = prompts[:, layer].flatten(0, 1)  # no block keeps what it returned
            elif layer == part.shared:
                added = prompts[:, layer, None].expand(-1, images, -1, -1)
                x = torch.cat([x[top:].view(part.tokens.shape), added], dim=2).flatten(0, 2)
            block, ends = self._blocks[layer], self._reads_one and layer == len(self._blocks) - 1
            run = block.forward_ends if ends else block.forward
            x, kept = run(x, part.beside if layer < part.shared else part.among)
            if keep:
                layers.append(kept)
        if self._reads_one:
            return x.view(sets, images, 1, width), layers
        if part.shared == len(self._blocks):
            x = x[top:]
        return x.view(sets, images, -1, width)[:, :, 1:length], layers

    def backward(self, grad: Tensor, kept: Sequence[Kept], prompts: Tensor, part: _Part) -> Tensor:
        """Return the gradient on the prompts from that on the tokens that are pooled."""
        top, count = part.beside.rows[0], part.beside.prefix.length
        sets, images, length, width = part.tokens.shape
        last = len(self._blocks) - 1
        if self._reads_one:
            x = grad.flatten(0, 2)
        else:
            after = count if part.shared <= last else 0
            x = torch.nn.functional.pad(grad, (0, 0, 1, after)).flatten(0, 2)
            if part.shared > last:
                x = torch.cat([x.new_zeros(top, width), x])
        found = torch.zeros_like(prompts)
        for layer in range(last, -1, -1):
            block, ends = self._blocks[layer], self._reads_one and layer == last
            run = block.backward_ends if ends else block.backward
            if layer < part.shared:
                x = run(x, kept[layer], part.beside, None if layer else top)
                found[:, layer] = x[:top].view(sets, count, width)
                x[:top] = 0  # the layer below did not make these
                continue
            x = run(x, kept[layer], part.among)
            if layer == part.shared:
                own, added = torch.split(x.view(sets, images, -1, width), [length, count], dim=2)
                found[:, layer] = added.sum(dim=1)
                x = torch.cat([x.new_zeros(top, width), own.flatten(0, 2)])
        return found

    @property
    def _reads_one(self) -> bool:
        """Whether the tower pools the class token alone."""
        return bool(self._tower.pool_type == "tok")


@lru_cache(maxsize=64)
def _packing(sets: int, prompts: int, images: int, length: int, device: torch.device) -> Packing:
    """Lay out the prompts of every run and then its images, of so many tokens each."""
    return pack(sets, prompts, [group_images(images, length, device)])
