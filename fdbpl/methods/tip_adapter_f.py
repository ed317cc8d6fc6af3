"""Tip-Adapter-F (Zhang et al. 2022, section 3.2): Tip-Adapter whose keys are learned.

    L = CE(s f U^T + alpha exp(-beta (1 - f K^T)) L, label)

The keys K start as Tip-Adapter's; the labels L of the shots and all else stay as they are. The
optimiser is the paper's, AdamW at 1e-3 (and the released code's eps of 1e-4). Epochs, batches and
the warm-up are those of all methods here; neither alpha and beta nor the epoch are chosen on data.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from fdbpl.methods.batch import Batch, Tensors, Terms
from fdbpl.methods.coop import cross_entropy
from fdbpl.methods.method import ClosedForm, Start
from fdbpl.methods.tip_adapter import ALPHA, BETA, KEYS, LABELS, ShotKeys, TipAdapter
from fdbpl.system.section import Section

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fdbpl.methods.params import TrainParams
    from fdbpl.methods.training_data import TrainingData

EPS = 1e-4


class TipAdapterFOptions(Section):
    """The learning rate, which the warm-up does not exceed."""

    lr: float = Field(1e-3, gt=0)


class TipAdapterF(TipAdapter):
    """The cross-entropy of labels over the classes learned; decides as Tip-Adapter does."""

    Options = TipAdapterFOptions

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """None: the keys are a start."""
        return ()

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return the keys (I, D) of a seed's shots, and their labels (I,), which stay."""
        import torch

        arrays, _ = ShotKeys().fit(data, seed)
        keys, labels = (torch.from_numpy(arrays[name]) for name in (KEYS, LABELS))
        return Start({KEYS: keys}, {LABELS: labels})

    def recipe(self, params: "TrainParams") -> "TrainParams":
        """Return the schedule at this method's learning rate."""
        return params.at(self.options.lr)

    def optimiser(self, learned: Sequence["Tensor"], params: "TrainParams") -> "Optimizer":
        """Return AdamW, with torch's own weight decay as in the released code."""
        import torch

        return torch.optim.AdamW(list(learned), lr=params.lr, eps=EPS)

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the cross-entropy."""
        anchors = batch.require("anchors")
        zero_shot = data.scale * batch.student @ anchors.mT
        logits = zero_shot + ALPHA * cache_logits(
            batch.student, tensors[KEYS], tensors[LABELS], len(anchors)
        )
        return {"cross_entropy": cross_entropy(logits, batch.labels)}


def cache_logits(features: "Tensor", keys: "Tensor", labels: "Tensor", classes: int) -> "Tensor":
    """Return exp(-beta (1 - f K^T)) L (S, B, C).

    Args:
        features: f (S, B, D).
        keys: K (S, I, D).
        labels: (S, I) the shots' positions among the classes; row i of L has its 1 there.
        classes: C of them.
    """
    near = (-BETA * (1 - features @ keys.mT)).exp()
    of_class = labels.long()[:, None].expand_as(near)
    return near.new_zeros(*near.shape[:2], classes).scatter_add(-1, of_class, near)
