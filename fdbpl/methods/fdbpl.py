"""FDBPL (arXiv 2505.18053): two prompt spaces that learn from cached region knowledge.

    w_b   = 1 - H(pT_b) / ln C                                      informativeness
    Lsim  = mean_b w_b [KL(pT || p) + KL(p || pT)] / 2              similarity
    Lrej  = mean_b (1 - w_b) KL(uniform || p-)                      rejection
    Lmut  = mean_b w_b cos(z+_b, z-_b)                              mutual
    Ldif1 = mean_b w_b relu(m1 - f_b . d_{y_b}),  d_c = u_c - v_c   first difference
    Ldif2 = sum_{a,b: y_a < y_b} w_a w_b relu(m2 + f_b . d_{y_a y_b} - f_a . d_{y_a y_b})
    total = Lsim + Lrej + 0.001 Lmut + 0.1 (Ldif1 + Ldif2),         y_b = argmax pT_b

That total is the paper's. z+ = s f U^T and z- = s f V^T are the logits under the positive and the
negative context. p is p+ in the paper; with `similarity: difference` it is the softmax of
s f . e_c, where e_c is the direction of u_c - lambda v_c, with a share of the template's t_c: then
all that decides takes part in what is distilled. w may also be the share of its image that the
region shows; `weight_floor` stands inside w's logarithm. The options name what the public record
leaves open; the presets fix them.
"""

from typing import TYPE_CHECKING, Any

from fdbpl.methods.batch import Batch, Terms
from fdbpl.methods.options import OF_INFERENCE, POSITIVE, FdbplOptions
from fdbpl.methods.prompts import Inference, PromptMethod
from fdbpl.methods.terms import (
    entropy,
    informativeness,
    kl_from_uniform,
    pairwise_hinge,
    symmetric_kl,
    weighted_mean,
)

if TYPE_CHECKING:
    from torch import Tensor


class Fdbpl(PromptMethod):
    """FDBPL under one set of options; text features are (..., 2, C, D): u and v."""

    Options = FdbplOptions

    @property
    def starts(self) -> tuple[str, ...]:
        """The positive and the negative context."""
        return POSITIVE, self.options.negative_start

    @property
    def inference(self) -> Inference:
        """By the difference of both contexts or the positive one, and the template."""
        o = self.options
        negative = o.negative_share if o.inference == "difference" else 0.0
        return Inference(negative, o.template_share)

    @property
    def training(self) -> list[Any]:
        """All options but those that no training step reads."""
        return ["Fdbpl", self.options.model_dump(mode="json", exclude={OF_INFERENCE})]

    def objective(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return the weighted terms; those of weight 0 are left out."""
        o = self.options
        w = self.weights(batch)
        vectors = (
            self._difference(batch, text) if o.similarity == "difference" else text[..., 0, :, :]
        )
        log_p = batch.logits(vectors, scale).log_softmax(-1)
        return {
            "similarity": self._mean(symmetric_kl(batch.teacher, log_p), w),
            **self._negative_terms(batch, text, scale, w),
            **self._difference_terms(batch, text, w),
        }

    def _negative_terms(self, batch: Batch, text: "Tensor", scale: float, w: "Tensor") -> Terms:
        """Return what bears on the negative context alone, and on its likeness to the positive."""
        o = self.options
        positive, negative = (scale * batch.student[..., None, :, :] @ text.mT).unbind(-3)
        terms = {}
        if o.rejection_weight:
            rejection = kl_from_uniform if o.rejection == "uniform" else _minus_entropy
            terms["rejection"] = o.rejection_weight * self._mean(
                rejection(negative.log_softmax(-1)), 1 - w
            )
        if o.mutual_weight:
            alike = _cosine(positive, negative)
            terms["mutual"] = o.mutual_weight * self._mean(alike, w)
        return terms

    def _difference_terms(self, batch: Batch, text: "Tensor", w: "Tensor") -> Terms:
        """Return the prompt-cascaded differences of the first and the second order."""
        o = self.options
        if not o.first_weight and not o.second_weight:
            return {}
        similarity, labels = _first_order(batch, text)
        terms = {}
        if o.first_weight:
            own = similarity.gather(-1, labels[..., None]).squeeze(-1)
            hinge = (o.first_margin - own).relu()
            terms["first_difference"] = o.first_weight * self._mean(hinge, w)
        if o.second_weight:
            if o.second == "released":
                second = released_second_difference(text[..., 0, :, :] - text[..., 1, :, :])
            else:
                second = pairwise_hinge(similarity, labels, w, o.second_margin)
            terms["second_difference"] = o.second_weight * second
        return terms

    def diagnosis(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return what shows whether the parts are alive, each (...), shares in [0, 1].

        The shares of active hinges; the negative prompts' entropy, as a share of ln C, on the
        half of the regions that inform most and on the other half; the mean cosine among v_c.
        """
        similarity, labels = _first_order(batch, text)
        own = similarity.gather(-1, labels[..., None]).squeeze(-1)
        w = self.weights(batch)
        negative = text[..., 1, :, :]
        log_p = (scale * batch.student @ negative.mT).log_softmax(-1)
        disorder = 1 - informativeness(log_p)
        order = w.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        high = (order < (w.shape[-1] + 1) // 2).to(w.dtype)  # by place, so that ties fill a half
        classes = negative.shape[-2]
        cosines = (negative @ negative.mT).sum((-2, -1)) - classes
        return {
            "first_hinges_active": (own < self.options.first_margin).to(w.dtype).mean(-1),
            "second_hinges_active": active_pairs(similarity, labels, self.options.second_margin),
            "negative_entropy_informative": weighted_mean(disorder, high),
            "negative_entropy_uninformative": weighted_mean(disorder, 1 - high),
            "negative_cosine": cosines / max(1, classes * (classes - 1)),
        }

    def weights(self, batch: Batch) -> "Tensor":
        """Return w (..., B), how much each region has to tell, by the chosen form."""
        o = self.options
        if o.weight == "none":
            return batch.teacher.new_ones(batch.teacher.shape[:-1])
        if o.weight == "area":
            return batch.require("areas")
        return informativeness(batch.teacher, o.weight_floor)

    def _difference(self, batch: Batch, text: "Tensor") -> "Tensor":
        """Return e (..., C, D): the directions of u - lambda v, with the template's share."""
        from torch.nn.functional import normalize

        o = self.options
        e = normalize(text[..., 0, :, :] - o.negative_share * text[..., 1, :, :], dim=-1)
        if not o.template_share:
            return e
        return normalize(e + o.template_share * batch.require("anchors"), dim=-1)

    def _mean(self, values: "Tensor", weights: "Tensor") -> "Tensor":
        """Average over the batch, or over the weights, so that w sets no learning rate."""
        if self.options.normalise == "batch":
            return (weights * values).mean(dim=-1)
        return weighted_mean(values, weights)


def _first_order(batch: Batch, text: "Tensor") -> "tuple[Tensor, Tensor]":
    """Return S (..., B, C) with S[b, c] = f_b . d_c, and y (..., B)."""
    difference = text[..., 0, :, :] - text[..., 1, :, :]
    return batch.student @ difference.mT, batch.teacher.argmax(dim=-1)


def released_second_difference(difference: "Tensor") -> "Tensor":
    """Return the released code's second-order term: zero, whatever the prompts are.

    It sums the mean over the width of d_i - d_j over all ordered pairs of classes; every pair
    meets its opposite, so value and gradient vanish. Kept so that `released` is exactly what
    was released.
    """
    means = difference.mean(dim=-1)
    return (means[..., :, None] - means[..., None, :]).sum(dim=(-2, -1))


def active_pairs(similarity: "Tensor", labels: "Tensor", margin: float) -> "Tensor":
    """Return the share (...) of pairs of different classes whose hinge is not at rest."""
    active = similarity.new_zeros(labels.shape[:-1])
    pairs = active.clone()
    for a in range(labels.shape[-1]):  # a diagnosis of one batch: plain before fast
        y_a = labels[..., a : a + 1]
        at_a = similarity.gather(-1, y_a.expand(labels.shape)[..., None]).squeeze(-1)  # S[b, y_a]
        own = similarity.gather(-1, labels[..., None]).squeeze(-1)  # S[b, y_b]
        row = similarity[..., a, :].gather(-1, labels)  # S[a, y_b]
        gap = at_a - own + row - at_a[..., a : a + 1]
        differ = labels != y_a
        pairs = pairs + differ.sum(-1)
        active = active + (differ & (margin + gap > 0)).sum(-1)
    return active / pairs.clamp_min(1)


def _cosine(one: "Tensor", other: "Tensor") -> "Tensor":
    """Return the cosines (...) of vectors (..., C)."""
    from torch.nn.functional import cosine_similarity

    return cosine_similarity(one, other, dim=-1)


def _minus_entropy(log_p: "Tensor") -> "Tensor":
    return -entropy(log_p)
