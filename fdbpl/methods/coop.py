"""CoOp (Zhou et al. 2022): cross-entropy of labelled images with one learned context."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fdbpl.methods.batch import Batch, Terms


def coop(batch: Batch, text: Tensor, scale: float) -> Terms:
    """CE(softmax(s f U^T), label), averaged over the batch."""
    return {"cross_entropy": F.cross_entropy(scale * batch.student @ text[0].T, batch.labels)}
