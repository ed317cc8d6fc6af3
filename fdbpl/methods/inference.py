"""How a method classifies: from its contexts' class features, and its memory, to one decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.decision import Decision, Memory
from fdbpl.errors import UserError

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Inference:
    """What decides; by default the positive class vectors alone.

    With u, v and t the unit class features under the positive context, the negative context and
    the hand-written template, a class is recognised by the direction of

        e + template_share * t,   where e is the direction of u - negative_share * v.

    Attributes:
        negative_share: lambda of the difference z+ - lambda z-; 0 ignores the negative context.
        template_share: weight of the hand-written prompt beside the learned; 0 ignores it.
        memory_share: of what was remembered of the classes seen, in the logits
            (`fdbpl.decision.Memory`); 0 remembers nothing.
    """

    negative_share: float = 0.0
    template_share: float = 0.0
    memory_share: float = 0.0

    def classifier(self, sides: Floats, template: Floats | None = None) -> NDArray[np.float32]:
        """Return the unit vectors (C, D) that decide.

        Args:
            sides: (K, C, D) unit class features, positive first.
            template: (C, D) unit class features of the hand-written prompt.

        Raises:
            UserError: the method needs a hand-written prompt and none is given.
        """
        vectors = np.asarray(sides[0], np.float32)
        if self.negative_share:
            vectors = _unit(vectors - np.float32(self.negative_share) * sides[1])
        if self.template_share:
            if template is None:
                raise UserError(
                    f"this method classifies with a share of {self.template_share} of a "
                    "hand-written prompt, and none is given. Pass template=...: the student's "
                    "template_vectors of the same classes."
                )
            vectors = _unit(vectors + np.float32(self.template_share) * template)
        return vectors

    def decision(
        self,
        sides: Floats,
        scale: float,
        class_names: Sequence[str],
        *,
        template: Floats | None = None,
        memory: Floats | None = None,
        learned_names: Sequence[str] = (),
    ) -> Decision:
        """Return what decides between C classes.

        Args:
            sides: (K, C, D) unit class features, positive first.
            scale: the student's logit scale.
            class_names: C names.
            template: (C, D) unit class features of the hand-written prompt.
            memory: (L, D + 1) the discriminant of the classes learned, of a method that has one.
            learned_names: their L names.

        Raises:
            UserError: the method needs a hand-written prompt and none is given.
        """
        vectors = self.classifier(sides, template)
        if memory is None or not self.memory_share:
            return Decision(vectors, scale)
        known = Memory.over(memory, learned_names, class_names, self.memory_share)
        return Decision(vectors, scale, known)


POSITIVE_ONLY = Inference()


def _unit(vectors: Floats) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
