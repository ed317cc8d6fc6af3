"""A decision that is linear in unit features, as weights and offsets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision, Discriminant
from fdbpl.system.errors import UserError

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """Logits z W^T + b of features z: unit f (D), perhaps with unit h (E) after them.

    f are those after the decision's projection, if it has one, and h those before it.

    Attributes:
        weights: W (C, D), or (C, D + E) where a part of the decision judges h.
        bias: b (C,).
    """

    weights: Doubles
    bias: Doubles


def linear_of(decision: Decision) -> Linear:
    """Return what a decision computes among all its classes.

    Raises:
        UserError: a part of it is not linear.
    """
    if decision.projector is not None:
        raise UserError(
            "the model projects features by two layers, which no weights and offsets say. "
            "Take --to onnx or --to web, or learn by another method."
        )
    width, before = decision.vectors.shape[1], 0
    for part in decision.parts.values():
        if isinstance(part, Discriminant) and part.before_projection:
            before = part.rows.shape[1] - 1
    weights = np.zeros((len(decision.vectors), width + before))
    weights[:, :width] = decision.scale * np.asarray(decision.vectors, np.float64)
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
        offsets, own = part.share * np.asarray(part.rows[:, -1], np.float64), np.zeros_like(weights)
        place = slice(width, None) if part.before_projection else slice(width)
        own[:, place] = part.share * np.asarray(part.rows[:, :-1], np.float64)
        if part.unseen == "replaces":
            weights = np.where(seen[:, None], own, weights)
            bias = np.where(seen, offsets, bias)
        else:
            weights, bias = weights + own, bias + offsets
    return Linear(weights, bias)
