"""KDPL (Mistretta et al. 2024): distil the teacher's probabilities, without labels."""

from torch import Tensor

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.terms import positive_logits, symmetric_kl


def kdpl(batch: Batch, text: Tensor, scale: float) -> Terms:
    """mean_b [KL(pT || p+) + KL(p+ || pT)] / 2."""
    log_p = positive_logits(batch, text, scale).log_softmax(dim=-1)
    return {"similarity": symmetric_kl(batch.teacher, log_p).mean(dim=-1)}
