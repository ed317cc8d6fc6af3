"""CoOp (Zhou et al. 2022): cross-entropy of labelled images with one learned context."""

from typing import TYPE_CHECKING

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.prompts import PromptMethod
from fdbpl.methods.terms import positive_logits

if TYPE_CHECKING:
    from torch import Tensor


class CoOp(PromptMethod):
    """CE(softmax(s f U^T), label), averaged over the batch."""

    labelled = True

    def objective(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return the cross-entropy."""
        return {"cross_entropy": cross_entropy(positive_logits(batch, text, scale), batch.labels)}


def cross_entropy(logits: "Tensor", labels: "Tensor") -> "Tensor":
    """Return CE of logits (..., B, C) and labels (..., B), averaged over the batch, (...)."""
    of_label = logits.log_softmax(dim=-1).gather(-1, labels[..., None]).squeeze(-1)
    return -of_label.mean(dim=-1)
