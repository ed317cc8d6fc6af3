"""Class-agnostic learning (KDPL-CA, Mistretta et al. 2024): no class names, a vocabulary instead.

A step learns from the K names that the teacher finds likeliest in its batch: both models'
probabilities are taken over these alone, as if they were the classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fdbpl.clip.prompting import TextEncoder
from fdbpl.methods.batch import Batch


@dataclass(frozen=True)
class VocabularyText:
    """Text features of a few of many names.

    Attributes:
        count: K, how many.
        encoder: positions of K names to the encoder of these alone.
    """

    count: int
    encoder: Callable[[Sequence[int]], TextEncoder]

    def __call__(self, contexts: Tensor, batch: Batch) -> tuple[Batch, Tensor]:
        """Choose each run's names; return the batch over these, and their text features.

        Args:
            contexts: (S, K, M, W) of S runs, or deep ones (S, K, J, M, W).
            batch: over all C names.

        Returns:
            The batch over the chosen, and unit features (S, K, count, D).
        """
        names = likeliest(batch.teacher, self.count)
        text = [
            self.encoder(chosen.tolist())(one) for chosen, one in zip(names, contexts, strict=True)
        ]
        return restrict(batch, names), torch.stack(text)


def likeliest(log_p: Tensor, count: int) -> Tensor:
    """Return the positions (..., K), ascending, of the names likeliest over a batch.

    Args:
        log_p: (..., B, C) log-probabilities of the teacher; their mean over B decides, and of
            equals the first.
        count: K, at most C.
    """
    order = log_p.exp().mean(-2).argsort(dim=-1, descending=True, stable=True)
    return order[..., :count].sort(dim=-1).values


def restrict(batch: Batch, names: Tensor) -> Batch:
    """Return the batch as if the names at the positions (..., K) were all there are.

    Probabilities are taken over these alone: each as before, divided by their sum.
    """
    columns = names[..., None, :].expand(*batch.teacher.shape[:-1], -1)
    return replace(
        batch,
        teacher=batch.teacher.gather(-1, columns).log_softmax(dim=-1),
        anchors=None if batch.anchors is None else batch.anchors[names],
        beside=None if batch.beside is None else batch.beside.gather(-1, columns),
    )
