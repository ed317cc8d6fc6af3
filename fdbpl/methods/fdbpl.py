"""FDBPL (arXiv 2505.18053): two prompt spaces that learn from cached region knowledge.

    w_b   = 1 - H(pT_b) / ln C                                      informativeness
    Lsim  = mean_b w_b [KL(pT || p+) + KL(p+ || pT)] / 2            similarity
    Lrej  = mean_b (1 - w_b) KL(uniform || p-)                      rejection
    Lmut  = mean_b w_b cos(z+_b, z-_b)                              mutual
    Ldif1 = mean_b w_b relu(m1 - f_b . d_{y_b}),  d_c = u_c - v_c   first difference
    Ldif2 = the weighted mean over pairs of relu(m2 + f_b . d_{y_a y_b} - f_a . d_{y_a y_b})
    total = Lsim + Lrej + 0.001 Lmut + 0.1 (Ldif1 + Ldif2),         y_b = argmax pT_b

z+ = s f U^T and z- = s f V^T are the logits under the positive and the negative context. The
options name what the public record leaves open; the presets fix them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.options import FdbplOptions
from fdbpl.methods.terms import (
    entropy,
    informativeness,
    kl_from_uniform,
    pairwise_hinge,
    symmetric_kl,
)


class Fdbpl:
    """The objective under one set of options; text features are (..., 2, C, D): u and v."""

    def __init__(self, options: FdbplOptions):
        self.options = options

    def __call__(self, batch: Batch, text: Tensor, scale: float) -> Terms:
        """Return the five weighted terms."""
        o = self.options
        positive, negative = (scale * batch.student[..., None, :, :] @ text.mT).unbind(-3)
        w = self._weights(batch.teacher)
        labels = batch.teacher.argmax(dim=-1)
        difference = text[..., 0, :, :] - text[..., 1, :, :]
        if o.difference_unit == "direction":
            difference = F.normalize(difference, dim=-1)
        similarity = batch.student @ difference.mT
        if o.difference_unit == "logit":
            similarity = scale * similarity
        own = similarity.gather(-1, labels[..., None]).squeeze(-1)
        log_positive, log_negative = positive.log_softmax(-1), negative.log_softmax(-1)
        rejection = kl_from_uniform if o.rejection == "uniform" else _minus_entropy
        if o.second == "released":
            second = released_second_difference(difference)
        else:
            second = pairwise_hinge(similarity, labels, w, o.second_margin)
        mean = self._mean
        return {
            "similarity": mean(symmetric_kl(batch.teacher, log_positive), w),
            "rejection": o.rejection_weight * mean(rejection(log_negative), 1 - w),
            "mutual": o.mutual_weight * mean(F.cosine_similarity(positive, negative, dim=-1), w),
            "first_difference": o.first_weight * mean(torch.relu(o.first_margin - own), w),
            "second_difference": o.second_weight * second,
        }

    def _weights(self, teacher: Tensor) -> Tensor:
        if self.options.weight == "none":
            return torch.ones_like(teacher[..., 0])
        return informativeness(teacher) ** self.options.weight_power

    def _mean(self, values: Tensor, weights: Tensor) -> Tensor:
        """Average over the batch, or over the weights, so that w sets no learning rate."""
        if self.options.normalise == "batch":
            return (weights * values).mean(dim=-1)
        return (weights * values).sum(dim=-1) / weights.sum(dim=-1).clamp_min(1e-12)


def released_second_difference(difference: Tensor) -> Tensor:
    """Return the released code's second-order term: zero, whatever the prompts are.

    It sums the mean over the width of d_i - d_j over all ordered pairs of classes; every pair
    meets its opposite, so value and gradient vanish. Kept so that `released` is exactly what
    was released.
    """
    means = difference.mean(dim=-1)
    return (means[..., :, None] - means[..., None, :]).sum(dim=(-2, -1))


def _minus_entropy(log_p: Tensor) -> Tensor:
    return -entropy(log_p)
