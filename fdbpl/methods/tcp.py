"""TCP (Yao et al. 2024, arXiv 2311.18231): KgCoOp with tokens of each class's own.

    T_c = up(quickgelu(down(a_c)))
    L   = CE(softmax(s f U^T), label) + 8 mean_c ||u_c - a_c||^2

a_c is the unit feature of class c under the dataset's template. Its tokens T_c (M, W) take the
place of the learned context's in the text tower after 8 of 12 layers, or as large a share of a
shallower tower's; u_c is the tower's feature then. `down` maps to a quarter of a feature's width,
`up` to M tokens, both with offsets, as in the released code. The distance is KgCoOp's, as in the
paper; the released code takes one minus the cosine, which is half of it. There some datasets'
prompts have words after the class name, here none has. The optimiser is the released code's, Adam
at 2e-3 with an eps of 1e-3; epochs, batches and the warm-up are those of all methods here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from fdbpl.methods.batch import Batch, Floats, Tensors, Terms
from fdbpl.methods.kgcoop import KgCoOp
from fdbpl.methods.method import Classes, Start
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.prompts import SIDES
from fdbpl.system.errors import UserError
from fdbpl.system.section import Section

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fdbpl.methods.params import TrainParams
    from fdbpl.methods.training_data import TrainingData

EPS = 1e-3
CONTEXT = SIDES[0]
NARROWER = 4  # times is the bottleneck than a feature


class TcpOptions(Section):
    """The learning rate, which the warm-up does not exceed."""

    lr: float = Field(2e-3, gt=0)


class Tcp(KgCoOp):
    """A context (M, W), and what makes tokens of a class of its hand-written feature."""

    Options = TcpOptions

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return the context's words, and maps as torch's linear layers start, by the seed.

        Raises:
            UserError: there are no hand-written class features.
        """
        import torch

        if data.anchors is None:
            raise UserError("tcp needs anchors, and none were given. Pass learn(anchors=...).")
        context = super().start(data, seed).learned
        width = data.anchors.shape[-1]
        middle = width // NARROWER
        drawn = torch.Generator().manual_seed(seed)

        def uniform(fan_in: int, *shape: int) -> "Tensor":
            return (2 * torch.rand(shape, generator=drawn) - 1) / math.sqrt(fan_in)

        return Start(
            {
                **context,
                "down": uniform(width, width, middle),
                "down_offset": uniform(width, middle),
                "up": uniform(middle, middle, context[CONTEXT].numel()),
                "up_offset": uniform(middle, context[CONTEXT].numel()),
            }
        )

    def recipe(self, params: "TrainParams") -> "TrainParams":
        """Return the schedule at this method's learning rate."""
        return params.at(self.options.lr)

    def optimiser(self, learned: Sequence["Tensor"], params: "TrainParams") -> "Optimizer":
        """Return Adam."""
        import torch

        return torch.optim.Adam(
            list(learned), lr=params.lr, eps=EPS, weight_decay=params.weight_decay
        )

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return KgCoOp's terms for these text features."""
        own = class_tokens(tensors, batch.require("anchors"))
        text = data.class_aware_text(tensors[CONTEXT], own)
        return self.objective(batch, text[:, None], data.scale)

    def vectors(self, arrays: Mapping[str, Floats], classes: Classes) -> dict[str, Floats]:
        """Return the class vectors (C, D); of any classes, since each has a template's feature."""
        import torch

        from fdbpl.clip.class_aware import ClassAwareText
        from fdbpl.clip.tokens import tokenize_prompts

        if classes.clip is None:
            raise ValueError("`classes` has no student to encode the class names with")
        clip = classes.clip
        tensors = {
            name: torch.from_numpy(np.asarray(one))[None].to(clip.text_device)
            for name, one in arrays.items()
        }
        anchors = torch.from_numpy(np.asarray(classes.text("template"), np.float32))
        encode = ClassAwareText(clip, tokenize_prompts(clip, POSITIVE, tuple(classes.names)))
        with torch.inference_mode():
            own = class_tokens(tensors, anchors.to(clip.text_device))
            return {CONTEXT: encode(tensors[CONTEXT], own)[0].cpu().numpy()}


def class_tokens(tensors: Tensors, features: "Tensor") -> "Tensor":
    """Return T (S, C, M, W) of unit class features (C, D), by the maps of S runs."""
    hidden = features @ tensors["down"] + tensors["down_offset"][:, None]
    hidden = hidden * (1.702 * hidden).sigmoid()
    flat = hidden @ tensors["up"] + tensors["up_offset"][:, None]
    return flat.view(*flat.shape[:2], *tensors[CONTEXT].shape[1:])
