"""MaPLe (Khattak et al. 2023): IVLP whose image prompts follow from the text prompts.

    V_j = T_j F_j + f_j        at each layer j

T_j (M, W) are the text tower's tokens of a layer, V_j those of the image tower; F_j and f_j are
learned, too. The loss is CoOp's cross-entropy. The released code learns two tokens, of "a photo",
and leaves "of a" before the class name; here all four are learned, as by every method.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fdbpl.methods.both_towers import (
    CONTEXT,
    BothTowers,
    image_layers,
    text_layers,
    three_quarters,
)
from fdbpl.methods.coop import CoOp
from fdbpl.methods.method import Start
from fdbpl.methods.prompts import starting_deep_contexts
from fdbpl.system.section import Section

if TYPE_CHECKING:
    from fdbpl.clip.model import ClipModel
    from fdbpl.methods.training_data import TrainingData

COUPLING, OFFSET = "coupling", "coupling_offset"


class MapleOptions(Section):
    """At how many layers of both towers tokens are learned: three quarters of the shallower's."""

    depth: int | None = Field(None, ge=1)


class Maple(BothTowers, CoOp):
    """CoOp's cross-entropy, on text prompts and what is made of them for the image tower."""

    Options = MapleOptions

    @property
    def image_layer(self) -> int:
        """The lowest."""
        return 0

    def image_depth(self, clip: "ClipModel") -> int:
        """Return the depth, which is one for both towers."""
        return self.options.depth or three_quarters(min(image_layers(clip), text_layers(clip)))

    def text_depth(self, clip: "ClipModel") -> int:
        """Return the same."""
        return self.image_depth(clip)

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return the context's words, deeper tokens drawn, and maps as torch's linear layers start.

        The deeper layers' maps start alike, as in the released code.
        """
        import torch

        depth = self.image_depth(data.clip)
        (context,) = starting_deep_contexts(data.clip, self.starts, depth, seed)
        tower: Any = data.clip.network.get_submodule("visual")
        width, wide = context.shape[-1], tower.transformer.width
        drawn, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(width)
        maps = [torch.empty(width + 1, wide).uniform_(-bound, bound, generator=drawn) for _ in "ab"]
        both = torch.stack([maps[min(layer, 1)] for layer in range(depth)]).to(context)
        coupling, offset = both[:, :width].contiguous(), both[:, width].contiguous()
        return Start({CONTEXT: context, COUPLING: coupling, OFFSET: offset})

    def image_prompts(self, tensors: Mapping[str, Any]) -> Any:
        """Return V (..., J, M, W)."""
        return tensors[CONTEXT] @ tensors[COUPLING] + tensors[OFFSET][..., None, :]
