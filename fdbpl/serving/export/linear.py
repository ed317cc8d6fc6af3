"""A decision that is linear in unit features, as weights and offsets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision, Discriminant
from fdbpl.system.errors import UserError

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """Logits f W^T + b of unit features f (n, D), after the decision's projection if it has one.

    Attributes:
        weights: W (C, D).
        bias: b (C,).
    """

    weights: Doubles
    bias: Doubles


def linear_of(decision: Decision) -> Linear:
    """Return what a decision computes among all its classes, behind its projection.

    Raises:
        UserError: a part of it is not linear.
    """
    weights = decision.scale * np.asarray(decision.vectors, np.float64)
    bias = np.zeros(len(weights))
    for name, part in decision.parts.items():
        if not isinstance(part, Discriminant):
            raise UserError(
                f"the model decides by {name!r}, too, which compares a picture with every one "
                "that was learned from: no weights and offsets say that. Take --to onnx or --to "
                "web, or learn by another method."
            )
        seen = np.asarray(part.seen, bool)
        if part.unseen == "silent" and not seen.all():
            continue
        rows = part.share * np.asarray(part.rows, np.float64)
        if part.unseen == "replaces":
            weights = np.where(seen[:, None], rows[:, :-1], weights)
            bias = np.where(seen, rows[:, -1], bias)
        else:
            weights, bias = weights + rows[:, :-1], bias + rows[:, -1]
    return Linear(weights, bias)
