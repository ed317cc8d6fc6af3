"""Images under the learned tokens of one decision."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.classify.decision import ImagePrompts
from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.system.errors import UserError

Floats = NDArray[np.floating[Any]]


class PromptedEncoder:
    """An image tower under the tokens of one decision, without gradients.

    Args:
        clip: whose image tower it is; it moves to the device.
        prompts: the tokens, and where they enter.
        device: where it runs.

    Raises:
        UserError: see `PromptedImage`; or the tokens are of another tower's width.
    """

    def __init__(self, clip: ClipModel, prompts: ImagePrompts, device: str = "cpu") -> None:
        clip.network.get_submodule("visual").to(device)
        self._tower, self._device = PromptedImage(clip, first=prompts.first_layer), device
        found, wanted = prompts.tokens.shape[-1], self._tower.width
        if found != wanted:
            raise UserError(
                f"image prompts of width {found}, but the image tower of "
                f"{clip.identity['architecture']} has {wanted}. Take the student they were learned "
                "with."
            )
        tokens = torch.from_numpy(np.asarray(prompts.tokens, np.float32))
        self._tokens = tokens[None].to(device)

    def __call__(self, pixels: Floats) -> Floats:
        """Encode normalised pixels (n, 3, S, S) to unit features (n, D)."""
        with torch.inference_mode():
            given = torch.from_numpy(pixels).to(self._device)
            return self._encoded(self._tower.activations(given))

    def of_activations(self, below: Floats) -> Floats:
        """Encode what the first layer with tokens is given (n, (1 + N) W) to features (n, D)."""
        with torch.inference_mode():
            given = torch.from_numpy(below).float().to(self._device)
            return self._encoded(given.view(len(below), -1, self._tower.width))

    def _encoded(self, below: Tensor) -> Floats:
        found: Floats = self._tower(self._tokens, below[None])[0].float().cpu().numpy()
        return found
