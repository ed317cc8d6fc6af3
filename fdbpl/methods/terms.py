"""The parts that objectives are made of: pure functions of logits and log-probabilities.

Symbols as in FDBPL (arXiv 2505.18053): pT the teacher's probabilities over C classes for a
region, p+ and p- the student's under the positive and the negative context, w the
informativeness of a region. Leading dimensions (...) are independent runs.
"""

import math
from typing import TYPE_CHECKING

from fdbpl.methods.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor


def positive_logits(batch: Batch, text: "Tensor", scale: float) -> "Tensor":
    """Return z+ = s f U^T (..., B, C) under the first context of text (..., K, C, D)."""
    return batch.logits(text[..., 0, :, :], scale)


def projected(hidden: "Tensor", projection: "Tensor") -> "Tensor":
    """Return unit(h W) (..., B, D) of hidden features (..., B, E)."""
    import torch

    return torch.nn.functional.normalize(hidden @ projection, dim=-1)


def kl(log_p: "Tensor", log_q: "Tensor") -> "Tensor":
    """Return KL(p || q) of each row (..., B) from log-probabilities (..., B, C)."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def symmetric_kl(log_p: "Tensor", log_q: "Tensor") -> "Tensor":
    """Return [KL(p || q) + KL(q || p)] / 2 of each row (..., B): KDPL's distillation loss."""
    return (kl(log_p, log_q) + kl(log_q, log_p)) / 2


def entropy(log_p: "Tensor", floor: float = 0.0) -> "Tensor":
    """Return the entropy of each row (..., B) in nats: -sum p ln(p + floor)."""
    p = log_p.exp()
    return -(p * ((p + floor).log() if floor else log_p)).sum(dim=-1)


def informativeness(log_p: "Tensor", floor: float = 0.0) -> "Tensor":
    """Return w = 1 - H(p) / ln C of each row (..., B): how sure the teacher is.

    It lies in [0, 1]; with a `floor` inside the entropy's logarithm, as FDBPL's released code has
    it, up to floor / ln C above 1. Of a single class it is 1: half of two classes is one.
    """
    w = 1 - entropy(log_p, floor) / math.log(max(2, log_p.shape[-1]))
    return w if floor else w.clamp(0, 1)


def weighted_mean(values: "Tensor", weights: "Tensor") -> "Tensor":
    """Return the mean of values (..., B) by weights (..., B); 0 where no weight is left."""
    return (weights * values).sum(dim=-1) / weights.sum(dim=-1).clamp_min(1e-12)


def kl_from_uniform(log_p: "Tensor") -> "Tensor":
    """Return KL(uniform || p) of each row (..., B): 0 when the rejection is perfect."""
    return -log_p.mean(dim=-1) - math.log(log_p.shape[-1])


def pairwise_hinge(
    similarity: "Tensor",
    labels: "Tensor",
    weights: "Tensor",
    margin: float,
) -> "Tensor":
    """Return FDBPL's second-order difference, without a loop over pairs.

    With d_ij = d_i - d_j the differences of class differences and S[b, c] = f_b . d_c, the hinge
    of the pair of regions (a, b) of different classes is
    relu(m + (S[b, y_a] - S[b, y_b]) - (S[a, y_a] - S[a, y_b])), weighted by w_a w_b.

    Args:
        similarity: S (..., B, C).
        labels: (..., B) the teacher's class of each region.
        weights: (..., B) w.
        margin: m, in the units of S.

    Returns:
        (...): the weighted sum over pairs, each taken once.
    """
    count = labels.shape[-1]
    by_label = labels[..., None, :].expand(*labels.shape, count)
    at_label = similarity.gather(-1, by_label)  # [b, a] = S[b, y_a]
    own = at_label.diagonal(dim1=-2, dim2=-1)[..., None]  # S[b, y_b]
    gap = (at_label - own).mT + (at_label - own)  # [a, b]
    differ = labels[..., :, None] != labels[..., None, :]
    pairs = differ * weights[..., :, None] * weights[..., None, :]
    total = (pairs * (margin + gap).relu()).sum(dim=(-2, -1))  # (a, b) and (b, a) are equal
    return total / 2
