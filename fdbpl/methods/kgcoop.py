"""KgCoOp (Yao et al. 2023): CoOp that keeps near to the hand-written class features.

    L = CE(softmax(s f U^T), label) + 8 mean_c ||u_c - a_c||^2

u_c and a_c are the unit features of class c under the learned context and under the dataset's own
template. The distance and its weight are the paper's; the released code takes 1 - cos(u_c, a_c),
which is half of it.
"""

from torch import Tensor

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.coop import coop

WEIGHT = 8.0


def kgcoop(batch: Batch, text: Tensor, scale: float) -> Terms:
    """CoOp's cross-entropy, and the squared distance averaged over the classes."""
    apart = text[..., 0, :, :] - batch.require("anchors")
    distance = apart.square().sum(dim=-1).mean(dim=-1)
    return {**coop(batch, text, scale), "knowledge": WEIGHT * distance}
