"""KDPL weighted by informativeness: what w alone adds, without a second prompt."""

from torch import Tensor

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.terms import informativeness, positive_logits, symmetric_kl, weighted_mean


def kdpl_w(batch: Batch, text: Tensor, scale: float) -> Terms:
    """sum_b w_b [KL(pT || p+) + KL(p+ || pT)] / 2 / sum_b w_b.

    Divided by the sum of w, so that leaving w out is no change of learning rate.
    """
    log_p = positive_logits(batch, text, scale).log_softmax(dim=-1)
    divergence = symmetric_kl(batch.teacher, log_p)
    return {"similarity": weighted_mean(divergence, informativeness(batch.teacher))}
