"""KgCoOp (Yao et al. 2023): CoOp that keeps near to the hand-written class features.

    L = CE(softmax(s f U^T), label) + 8 mean_c ||u_c - a_c||^2

u_c and a_c are the unit features of class c under the learned context and under the dataset's own
template. The distance and its weight are the paper's; the released code takes 1 - cos(u_c, a_c),
which is half of it.
"""

from typing import TYPE_CHECKING

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.coop import CoOp

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT = 8.0


class KgCoOp(CoOp):
    """CoOp's cross-entropy, and the squared distance averaged over the classes."""

    def objective(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return both terms."""
        return {**super().objective(batch, text, scale), **distance(batch, text)}


def distance(batch: Batch, text: "Tensor", weight: float = WEIGHT) -> Terms:
    """Return the weighted mean squared distance of text features (..., K, C, D) to the anchors."""
    apart = text[..., 0, :, :] - batch.require("anchors")
    return {"knowledge": weight * apart.square().sum(dim=-1).mean(dim=-1)}
