"""FDBPL in text and vision: the cached teacher distilled into both towers, held as by PromptSRC.

    L = 1/B sum_b w_b [KL(pT || q) + KL(q || pT)] / 2 + 25 mean|u - t| + 10 mean|g - f| + ...

pT are the teacher's probabilities for a region, q the student's, w the region's informativeness
(arXiv 2505.18053); what holds the features, and the average of epochs, are PromptSRC's. No label is
read. The released code multiplies w into the divergence's mean over the batch, so every region
counts alike and w scales the learning rate alone: `weighting: batch` is that.
"""

from typing import TYPE_CHECKING, Literal

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.promptsrc import PromptSrcOptions, SelfRegularised
from fdbpl.methods.terms import informativeness, positive_logits, symmetric_kl

if TYPE_CHECKING:
    from torch import Tensor

RELEASED_FLOOR = 1e-6


class FdbplVisionOptions(PromptSrcOptions):
    """What w weighs: each region's divergence, or their mean."""

    weighting: Literal["region", "batch"] = "region"


class FdbplVision(SelfRegularised):
    """The divergence weighted by w, in place of labels."""

    Options = FdbplVisionOptions

    def objective(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return the weighted divergence."""
        own = positive_logits(batch, text, scale).log_softmax(dim=-1)
        divergence = symmetric_kl(batch.teacher, own)
        if self.options.weighting == "batch":
            w = informativeness(batch.teacher, RELEASED_FLOOR)
            return {"similarity": w.mean(dim=-1) * divergence.mean(dim=-1)}
        return {"similarity": (informativeness(batch.teacher) * divergence).mean(dim=-1)}
