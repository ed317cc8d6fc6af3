"""PromptSRC (Khattak et al. 2023): IVLP that keeps near to the frozen model, averaged over epochs.

    L = CE + 25 mean|u - t| + 10 mean|g - f| + mean_bc q0 (ln q0 - ln q)

u and t are unit class features under the learned context and under the ensemble of hand-written
prompts, g and f those of a region with image prompts and without; q are the probabilities of g by
u, q0 those of f by t. The last mean is over regions and classes, as in the released code. What is
kept is the mean of all epochs' tensors by a Gaussian, whose mean and deviation are given as shares
of the epochs: 15 and 1 of 20 in the released code.
"""

import math
from typing import TYPE_CHECKING

from pydantic import Field

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.both_towers import BothTowers, TowerOptions
from fdbpl.methods.coop import CoOp
from fdbpl.methods.terms import kl, positive_logits

if TYPE_CHECKING:
    from torch import Tensor

    from fdbpl.methods.params import TrainParams
    from fdbpl.methods.training_data import TrainingData


class PromptSrcOptions(TowerOptions):
    """The weights of what holds the features, and the Gaussian over epochs; 0 leaves each out."""

    text_weight: float = Field(25.0, ge=0)
    image_weight: float = Field(10.0, ge=0)
    logits_weight: float = Field(1.0, ge=0)
    average_at: float = Field(0.75, ge=0, le=1)
    average_width: float = Field(0.05, ge=0)


class SelfRegularised(BothTowers):
    """An objective beside the three terms that keep prompted features near to the frozen ones."""

    Options = PromptSrcOptions

    def regularisation(
        self, prompted: Batch, frozen: Batch, text: "Tensor", data: "TrainingData"
    ) -> Terms:
        """Return the distances of text features, image features and logits."""
        fixed = frozen.require("anchors") if data.ensemble is None else data.ensemble
        own = positive_logits(prompted, text, data.scale).log_softmax(dim=-1)
        before = frozen.logits(fixed, data.scale).log_softmax(dim=-1)
        o = self.options
        found = {
            "text": o.text_weight * (text[..., 0, :, :] - fixed).abs().mean(dim=(-2, -1)),
            "image": o.image_weight * (prompted.student - frozen.student).abs().mean(dim=(-2, -1)),
            "logits": o.logits_weight * kl(before, own).mean(dim=-1) / own.shape[-1],
        }
        return {name: term for name, term in found.items() if getattr(o, f"{name}_weight")}

    def epoch_weights(self, params: "TrainParams") -> list[float] | None:
        """Return the Gaussian's weights of the epochs, whose sum is 1."""
        o, epochs = self.options, params.epochs
        if not o.average_width:
            return None
        centre, deviation = o.average_at * epochs, o.average_width * epochs
        logs = [-0.5 * ((epoch - centre) / deviation) ** 2 for epoch in range(1, epochs + 1)]
        found = [math.exp(one - max(logs)) for one in logs]
        return [one / sum(found) for one in found]


class PromptSrc(SelfRegularised, CoOp):
    """CoOp's cross-entropy beside them."""
