"""Test images under a decision's own image prompts, which no cache has: encoded for each."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.classify.decision import ImagePrompts
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.prompted_encoder import PromptedEncoder
from fdbpl.methods.features import STREAM_BYTES
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_activations, open_pixels
from fdbpl.system.device import choose_device
from fdbpl.system.workspace import Workspace

BATCH = 64


class PromptedTests:
    """A plan's test images under image prompts; the student is loaded when it is first needed."""

    def __init__(self, params: Params, plan: Plan, work: Workspace) -> None:
        """Nothing is loaded yet."""
        self._params, self._plan, self._work = params, plan, work

    def features(self, prompts: ImagePrompts) -> NDArray[np.floating[Any]]:
        """Return the student's unit features (T, D) of the test images under the prompts.

        Raises:
            UserError: the pixels, or activations, are missing, damaged or of another plan; or the
                prompts are of another image tower than the student's.
        """
        device = choose_device(self._params.device)
        encode = PromptedEncoder(self._clip, prompts, device)
        rows = np.arange(len(self._plan.test))
        parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        if prompts.first_layer:
            cache = open_activations(prompts.first_layer, self._params, self._plan, self._work)
            found = [encode.of_activations(cache.features("test", part)) for part in parts]
        else:
            normalised = self._clip.preprocessing.normalised
            found = [encode(normalised(seen)) for seen in self._pixels.in_order(parts)]
        return np.concatenate(found)

    @cached_property
    def _clip(self) -> ClipModel:
        return load_model(self._params.student, "student")

    @cached_property
    def _pixels(self) -> PixelStream:
        cache = open_pixels(self._plan, self._work, self._clip.preprocessing)
        memory = self._params.cache.memory_mb << 20
        return PixelStream(cache, "test", memory=min(memory, STREAM_BYTES), held=memory)
