"""How a method classifies: from its contexts' class features, and what it knows, to a decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.methods.bridge import across
from fdbpl.methods.decision import Decision, Memory
from fdbpl.system.errors import UserError

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
            (`fdbpl.methods.decision.Memory`); 0 remembers nothing.
        bridge_share: of what the teacher's class vectors say across a bridge, beside the cosines
            (`fdbpl.methods.bridge`); 0 builds none.
        gda: whether the memory is plain Gaussian discriminant analysis: every region counts alike,
            and it speaks whatever competes.
    """

    negative_share: float = 0.0
    template_share: float = 0.0
    memory_share: float = 0.0
    bridge_share: float = 0.0
    gda: bool = False

    @property
    def recalls(self) -> bool:
        """Whether it takes what the teacher makes of whole images, beside what was learned."""
        return bool(self.memory_share or self.bridge_share)

    def classifier(self, sides: Floats, template: Floats | None = None) -> NDArray[np.float32]:
        """Return the unit vectors (C, D) that decide.

        Args:
            sides: (K, C, D) unit class features, positive first; K = 0 for a method that learns no
                context, whose template alone decides.
            template: (C, D) unit class features of the hand-written prompt.

        Raises:
            UserError: the method needs a hand-written prompt and none is given.
        """
        if template is None and (self.template_share or not len(sides)):
            raise UserError(
                f"this method classifies with a share of {self.template_share} of a "
                "hand-written prompt, and none is given. Pass template=...: the student's "
                "template_vectors of the same classes."
            )
        if not len(sides):
            return np.asarray(template, np.float32)
        vectors = np.asarray(sides[0], np.float32)
        if self.negative_share:
            vectors = _unit(vectors - np.float32(self.negative_share) * sides[1])
        if template is not None and self.template_share:
            vectors = _unit(vectors + np.float32(self.template_share) * template)
        return vectors

    def decision(
        self,
        sides: Floats,
        scale: float,
        class_names: Sequence[str],
        *,
        template: Floats | None = None,
        teacher: Floats | None = None,
        memory: Floats | None = None,
        learned_names: Sequence[str] = (),
        bridge: Floats | None = None,
        same_domain: bool = True,
    ) -> Decision:
        """Return what decides between C classes.

        Args:
            sides: (K, C, D) unit class features, positive first.
            scale: the student's logit scale.
            class_names: C names.
            template: (C, D) unit class features of the hand-written prompt.
            teacher: (C, E) the teacher's, for a method that built a bridge.
            memory: (L, D + 1) the discriminant of the classes learned, of a method that has one.
            learned_names: their L names.
            bridge: (D, 1 + D + E) of a method that built one.
            same_domain: whether the C classes are of the domain that was learned, in its own or in
                shifted pictures. Of any other domain memory and bridge know nothing, be the names
                the same.

        Raises:
            UserError: the method needs a hand-written prompt and none is given, or has a bridge
                and the teacher's class vectors are not given.
        """
        vectors = self.classifier(sides, template)
        if not same_domain:
            return Decision(vectors, scale)
        known = None
        if memory is not None and self.memory_share:
            known = Memory.over(memory, learned_names, class_names, self.memory_share, self.gda)
        return Decision(vectors, scale, known, self.bridged(bridge, template, teacher))

    def bridged(
        self, bridge: Floats | None, template: Floats | None, teacher: Floats | None
    ) -> NDArray[np.float32] | None:
        """Return what the bridge adds to the cosines, (C, D + 1), where there is one.

        Arguments and errors as of `decision`.
        """
        if bridge is None or not self.bridge_share:
            return None
        if template is None or teacher is None:
            raise UserError(
                "this method has a bridge to its teacher, and lacks class vectors to judge by. "
                "Pass template=..., and teacher_vectors=...: the teacher's template_vectors of the "
                "same classes."
            )
        found = self.bridge_share * across(bridge, template, teacher)
        return found.astype(np.float32)


POSITIVE_ONLY = Inference()


def _unit(vectors: Floats) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
