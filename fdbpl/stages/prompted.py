"""Test images under a decision's own image prompts, which no cache has: encoded for each."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.classify.decision import ImagePrompts
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.methods.features import STREAM_BYTES
from fdbpl.methods.pixels import CachedPixels, normalised
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_activations, open_pixels
from fdbpl.system.device import choose_device, moved
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

BATCH = 64


class PromptedTests:
    """A plan's test images under image prompts; the student is loaded when it is first needed."""

    def __init__(self, params: Params, plan: Plan, work: Workspace) -> None:
        """Nothing is loaded yet."""
        self._params, self._plan, self._work = params, plan, work

    def features(self, prompts: ImagePrompts) -> NDArray[np.float32]:
        """Return the student's unit features (T, D) of the test images under the prompts.

        Raises:
            UserError: the pixels, or activations, are missing, damaged or of another plan; or the
                prompts are of another image tower than the student's.
        """
        tower = PromptedImage(self._clip, first=prompts.first_layer)
        self._require_width(prompts)
        tokens = torch.from_numpy(np.asarray(prompts.tokens, np.float32))[None].to(self._device)
        rows = torch.split(torch.arange(len(self._plan.test)), BATCH)
        with torch.inference_mode():
            found = [
                tower(tokens, below[None])[0].cpu().numpy()
                for below in self._below(tower, prompts, rows)
            ]
        return np.concatenate(found)

    def _below(
        self, tower: PromptedImage, prompts: ImagePrompts, rows: Sequence[Tensor]
    ) -> Iterator[Tensor]:
        """Yield what the first layer with tokens is given (n, 1 + N, W) of the rows' images."""
        if prompts.first_layer:
            cache = open_activations(prompts.first_layer, self._params, self._plan, self._work)
            for part in rows:
                kept = torch.from_numpy(cache.features("test", part.numpy())).float()
                yield moved(kept.view(len(part), -1, prompts.tokens.shape[-1]), self._device)
            return
        for seen in self._pixels.in_order(rows):
            pixels = normalised(moved(seen, self._device), self._clip.preprocessing)
            yield tower.activations(pixels)

    def _require_width(self, prompts: ImagePrompts) -> None:
        tower: Any = self._clip.network.get_submodule("visual")
        found, wanted = prompts.tokens.shape[-1], tower.transformer.width
        if found != wanted:
            raise UserError(
                f"image prompts of width {found}, but the student's image tower has {wanted}. "
                f"Run {self._work.command('train-student', self._plan.name)} again."
            )

    @cached_property
    def _device(self) -> torch.device:
        return torch.device(choose_device(self._params.device))

    @cached_property
    def _clip(self) -> ClipModel:
        clip = load_model(self._params.student, "student")
        clip.network.get_submodule("visual").to(self._device)
        return clip

    @cached_property
    def _pixels(self) -> CachedPixels:
        cache = open_pixels(self._plan, self._work, self._clip.preprocessing)
        memory = self._params.cache.memory_mb << 20
        return CachedPixels(
            PixelStream(cache, "test", memory=min(memory, STREAM_BYTES), held=memory)
        )
