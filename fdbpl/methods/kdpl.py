"""KDPL (Mistretta et al. 2024): distil the teacher's probabilities, without labels.

With w, weighted by informativeness: what w alone adds, without a second prompt.
"""

from typing import TYPE_CHECKING

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.prompts import PromptMethod
from fdbpl.methods.terms import informativeness, positive_logits, symmetric_kl, weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class Kdpl(PromptMethod):
    """mean_b [KL(pT || p+) + KL(p+ || pT)] / 2."""

    def objective(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return the divergence."""
        return {"similarity": self._divergence(batch, text, scale).mean(dim=-1)}

    def _divergence(self, batch: Batch, text: "Tensor", scale: float) -> "Tensor":
        log_p = positive_logits(batch, text, scale).log_softmax(dim=-1)
        return symmetric_kl(batch.teacher, log_p)


class KdplW(Kdpl):
    """sum_b w_b [KL(pT || p+) + KL(p+ || pT)] / 2 / sum_b w_b.

    Divided by the sum of w, so that leaving w out is no change of learning rate.
    """

    def objective(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return the weighted divergence."""
        divergence = self._divergence(batch, text, scale)
        return {"similarity": weighted_mean(divergence, informativeness(batch.teacher))}
