"""CoOp (Zhou et al. 2022): cross-entropy of labelled images with one learned context."""

from torch import Tensor

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.terms import positive_logits


def coop(batch: Batch, text: Tensor, scale: float) -> Terms:
    """CE(softmax(s f U^T), label), averaged over the batch."""
    log_p = positive_logits(batch, text, scale).log_softmax(dim=-1)
    of_label = log_p.gather(-1, batch.labels[..., None]).squeeze(-1)
    return {"cross_entropy": -of_label.mean(dim=-1)}
