"""PromptKD (Li et al. 2024): image prompts and a projector, distilled against the teacher's texts.

    L = 1000 mean_bc pT (ln pT - ln q),    q = softmax(s unit(P(g)) V^T)
    P(g) = relu(norm(g A + a)) B + b

V are the teacher's unit class features, pT its probabilities for a region, g the student's unit
features under image prompts, and `norm` is a batch norm. No text is learned and no label read. In
the paper the unlabelled images are of all classes (protocol `transductive`), the teacher was itself
tuned by PromptSRC (here it is as it is), and g is not brought to unit length. The weight is 200 for
aircraft, flowers and textures there; the learning rate is the released code's.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from fdbpl.classify.decision import Decision, ImagePrompts
from fdbpl.classify.projector import Projector
from fdbpl.methods.batch import Batch, Floats, Tensors, Terms
from fdbpl.methods.both_towers import (
    IMAGE_TOKENS,
    ImageOptions,
    depth_of,
    drawn_tokens,
    require_layers,
)
from fdbpl.methods.method import Classes, Method, Start
from fdbpl.methods.terms import kl

if TYPE_CHECKING:
    from torch import Tensor

    from fdbpl.clip.model import ClipModel
    from fdbpl.methods.params import TrainParams
    from fdbpl.methods.training_data import TrainingData

EPS, MOMENTUM = 1e-5, 0.1  # of the batch norm, torch's own


class PromptKdOptions(ImageOptions):
    """The weight of the divergence, and the learning rate."""

    weight: float = Field(1000.0, gt=0)
    lr: float = Field(0.005, gt=0)


class PromptKd(Method):
    """Image prompts (J, P, W), and a projector from the student's space to the teacher's."""

    Options = PromptKdOptions
    sees = "prompted"
    asks_teacher = True

    @property
    def image_layer(self) -> int:
        """Where the image tower's tokens enter."""
        return int(self.options.first_layer)

    def require_student(self, clip: "ClipModel") -> None:
        """Look whether the image tower takes tokens, and is deep enough for them."""
        require_layers(clip, self.image_layer, depth_of(clip, self.options))

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return tokens drawn, and a projector as torch's linear layers and batch norms start."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        tower: Any = data.clip.network.get_submodule("visual")
        width, wide = tower.output_dim, data.teacher.vectors.shape[1]

        def drawn(*shape: int, of: int) -> "Tensor":
            bound = 1 / math.sqrt(of)
            return torch.empty(shape).uniform_(-bound, bound, generator=generator)

        depth = depth_of(data.clip, self.options)
        tokens = drawn_tokens(data.clip, depth, self.options.image_tokens, seed)
        return Start(
            learned={
                IMAGE_TOKENS: tokens,
                "first": drawn(width, wide, of=width),
                "first_offset": drawn(wide, of=width),
                "gain": torch.ones(wide),
                "shift": torch.zeros(wide),
                "second": drawn(wide, wide, of=wide),
                "second_offset": drawn(wide, of=wide),
            },
            fixed={"running_mean": torch.zeros(wide), "running_variance": torch.ones(wide)},
        )

    def recipe(self, params: "TrainParams") -> "TrainParams":
        """Return the schedule at its own learning rate."""
        return params.at(self.options.lr)

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the divergence from the teacher; moments of the batch are counted on the way."""
        import torch

        seen = data.prompted_features(tensors[IMAGE_TOKENS], batch, self.image_layer)
        found, mean, variance = projected(tensors, seen)
        count_moments(tensors, mean, variance, seen.shape[-2])
        features = torch.nn.functional.normalize(found, dim=-1)
        own = (data.scale * features @ data.teacher.vectors.T).log_softmax(dim=-1)
        apart = kl(batch.teacher, own).mean(dim=-1) / own.shape[-1]
        return {"distillation": self.options.weight * apart}

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return what decides by the teacher's texts, on projected features under the prompts."""
        factor = arrays["gain"] / np.sqrt(arrays["running_variance"] + EPS)
        offset = (arrays["first_offset"] - arrays["running_mean"]) * factor + arrays["shift"]
        layers: list[Any] = [
            arrays["first"] * factor, offset, arrays["second"], arrays["second_offset"],
        ]  # fmt: skip
        projector = Projector(*(np.asarray(one, np.float32) for one in layers))
        tokens = np.asarray(arrays[IMAGE_TOKENS], np.float32)
        return Decision(
            classes.teacher_of(projector.second.shape[1]),
            classes.scale,
            sees=self.sees,
            image_prompts=ImagePrompts(tokens, self.image_layer),
            projector=projector,
        )


def projected(tensors: Tensors, features: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
    """Return P(g) (S, B, E) of features (S, B, D), and the moments (S, E) of what is normed.

    Each run has a batch norm of its own.
    """
    hidden = features @ tensors["first"] + tensors["first_offset"][:, None]
    mean, variance = hidden.mean(dim=1), hidden.var(dim=1, correction=0)
    hidden = (hidden - mean[:, None]) / (variance[:, None] + EPS).sqrt()
    hidden = (hidden * tensors["gain"][:, None] + tensors["shift"][:, None]).relu()
    return hidden @ tensors["second"] + tensors["second_offset"][:, None], mean, variance


def count_moments(tensors: Tensors, mean: "Tensor", variance: "Tensor", count: int) -> None:
    """Move the running moments by a tenth to those of a batch of `count`, as torch does."""
    unbiased = variance * (count / max(1, count - 1))
    for name, found in (("running_mean", mean), ("running_variance", unbiased)):
        tensors[name].lerp_(found.detach(), MOMENTUM)
