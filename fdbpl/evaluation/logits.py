"""Functions of logits in float64, without torch."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


def logsumexp(logits: Floats) -> Doubles:
    """Return log sum exp of each row (n,)."""
    values = np.asarray(logits, np.float64)
    top = values.max(axis=1)
    summed: Doubles = top + np.log(np.exp(values - top[:, None]).sum(axis=1))
    return summed


def log_softmax(logits: Floats) -> Doubles:
    """Return the logarithm of each row's softmax (n, C)."""
    return np.asarray(logits, np.float64) - logsumexp(logits)[:, None]


def informativeness(logits: Floats) -> Doubles:
    """Return w = 1 - H(p) / ln C of each row's softmax (n,), in [0, 1]: 0 where p is uniform.

    Of a single class it is 1. `fdbpl.methods.terms.informativeness` is the same in torch.
    """
    log_p = log_softmax(logits)
    entropy = -(np.exp(log_p) * log_p).sum(axis=1)
    result: Doubles = np.clip(1 - entropy / math.log(max(2, log_p.shape[1])), 0, 1)
    return result
