"""Methods that learn contexts: what they share, whatever their objective."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import Decision, Discriminant, Part, by_name, unit
from fdbpl.methods.batch import Batch, Floats, Tensors, Terms
from fdbpl.methods.knowledge import MEMORY, RegionMemory
from fdbpl.methods.method import Classes, ClosedForm, Method, Start
from fdbpl.methods.options import POSITIVE
from fdbpl.system.errors import UserError
from fdbpl.system.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from fdbpl.clip.model import ClipModel
    from fdbpl.methods.training_data import TrainingData

SIDES = ("positive", "negative")
"""The names of contexts, in their order."""

DEEPER_STD = 0.02
"""Of the tokens that layers after the first start from, as in IVLP, MaPLe and PromptSRC."""


@dataclass(frozen=True)
class Inference:
    """What decides; by default the positive class vectors alone.

    With u, v and t the unit class features under the positive context, the negative context and
    the hand-written template, a class is recognised by the direction of

        e + template_share * t,   where e is the direction of u - negative_share * v.

    Attributes:
        negative_share: lambda of the difference z+ - lambda z-; 0 ignores the negative context.
        template_share: weight of the hand-written prompt beside the learned; 0 ignores it.
        memory_share: of the discriminant of the classes learned (`fdbpl.methods.knowledge`), in
            the logits; 0 fits none.
        gda: whether the memory is plain Gaussian discriminant analysis: every region counts alike,
            and it speaks whatever competes.
    """

    negative_share: float = 0.0
    template_share: float = 0.0
    memory_share: float = 0.0
    gda: bool = False

    @property
    def closed_form(self) -> list[ClosedForm]:
        """What it takes beside contexts."""
        return [RegionMemory(by_area=not self.gda)] if self.memory_share else []

    def classifier(self, sides: Sequence[Floats], template: Floats | None) -> NDArray[np.float32]:
        """Return the unit vectors (C, D) that decide.

        Args:
            sides: unit class features (C, D) under each context, positive first; none for a method
                that learns no context, whose template alone decides.
            template: (C, D) unit class features of the hand-written prompt, where it counts.
        """
        if not len(sides):
            return np.asarray(template, np.float32)
        vectors = np.asarray(sides[0], np.float32)
        if self.negative_share:
            vectors = unit(vectors - np.float32(self.negative_share) * sides[1])
        if template is not None and self.template_share:
            vectors = unit(vectors + np.float32(self.template_share) * template)
        return vectors

    def decision(
        self, sides: Sequence[Floats], arrays: Mapping[str, Floats], classes: Classes
    ) -> Decision:
        """Return what decides between the classes.

        Args:
            sides: as of `classifier`.
            arrays: "memory" (L, D + 1) of the classes learned, where there is one.
            classes: their hand-written prompts.
        """
        needs_template = self.template_share or not len(sides)
        template = classes.text("template") if needs_template else None
        parts: dict[str, Part] = {}
        if classes.same_domain and self.memory_share and MEMORY in arrays:
            rows, seen = by_name(arrays[MEMORY], classes.learned, classes.names)
            parts[MEMORY] = Discriminant(
                rows, seen, self.memory_share, "adds" if self.gda else "silent"
            )
        return Decision(self.classifier(sides, template), classes.scale, parts)


POSITIVE_ONLY = Inference()


class PromptMethod(Method):
    """Learns a context, or a positive and a negative one, by an objective over text features.

    Attributes:
        starts: the words each context starts from: the positive, then perhaps the negative; none
            for a method that learns no context.
        inference: how its contexts classify.
    """

    def __init__(
        self,
        name: str,
        title: str,
        options: Section | None = None,
        inference: Inference = POSITIVE_ONLY,
    ) -> None:
        """Name a method, perhaps with what decides beside its contexts."""
        super().__init__(name, title, options)
        self._inference = inference

    @property
    def starts(self) -> tuple[str, ...]:
        """One context, from the field's words."""
        return (POSITIVE,)

    @property
    def inference(self) -> Inference:
        """How it decides."""
        return self._inference

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """The memory, where it counts."""
        return self.inference.closed_form

    def objective(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return the terms for unit text features (..., K, C, D), one set per context."""
        raise NotImplementedError

    def diagnosis(self, batch: Batch, text: "Tensor", scale: float) -> Terms:
        """Return values (...) that show whether the objective's parts are alive."""
        return {}

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return the contexts (M, W) by their side: the embeddings of their words."""
        contexts = starting_contexts(data.clip, self.starts)
        return Start(dict(zip(SIDES, contexts, strict=False)))

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the objective of the contexts' text features."""
        return self.objective(*data.encode(stacked(tensors), batch), data.scale)

    def diagnose(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the objective's own diagnosis."""
        if type(self).diagnosis is PromptMethod.diagnosis:
            return {}
        return self.diagnosis(*data.encode(stacked(tensors), batch), data.scale)

    def vectors(self, arrays: Mapping[str, Floats], classes: Classes) -> dict[str, Floats]:
        """Return the class vectors (C, D) under each context."""
        names = [side for side in SIDES if side in arrays]
        if not names:
            return {}
        if classes.encode is None:
            raise ValueError("`classes` has no text tower to encode contexts with")
        found = classes.encode(np.stack([arrays[side] for side in names]))
        return dict(zip(names, found, strict=True))

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return what decides by the contexts, the template and the memory."""
        vectors = self.vectors(arrays, classes)
        sides = [vectors[side] for side in SIDES if side in vectors]
        return self.inference.decision(sides, arrays, classes)


class ClosedFormOnly(PromptMethod):
    """The template beside what follows from the regions in closed form; no context is learned."""

    @property
    def starts(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def takes_steps(self) -> bool:
        """No."""
        return False


def starting_contexts(clip: "ClipModel", starts: Sequence[str]) -> "list[Tensor]":
    """Return the contexts (M, W) that training starts from: the embeddings of their words.

    Raises:
        UserError: the words have different numbers of tokens under this tokeniser.
    """
    from fdbpl.clip.tokens import embed_words

    contexts = [embed_words(clip, words) for words in starts]
    lengths = [len(context) for context in contexts]
    if len(set(lengths)) > 1:
        raise UserError(
            f"the starts {tuple(starts)} have {lengths} tokens for "
            f"{clip.identity['architecture']}, wanted equal numbers."
        )
    return contexts


def starting_deep_contexts(
    clip: "ClipModel", starts: Sequence[str], depth: int, seed: int
) -> "list[Tensor]":
    """Return the deep contexts (J, M, W) that training starts from.

    The first layer's tokens are the embeddings of their words, those of the others are drawn.

    Args:
        clip: the student.
        starts: the words each context starts from.
        depth: J, the layers of the text tower that have tokens of their own.
        seed: of the normal draw.

    Raises:
        UserError: the words have different numbers of tokens under this tokeniser.
    """
    import torch

    drawn = torch.Generator().manual_seed(seed)
    found = []
    for context in starting_contexts(clip, starts):
        deeper = DEEPER_STD * torch.randn(depth - 1, *context.shape, generator=drawn)
        found.append(torch.cat([context[None], deeper.to(context)]))
    return found


def stacked(tensors: Tensors) -> "Tensor":
    """Return contexts (S, K, M, W), or deep ones, of the sides there are, positive first."""
    import torch

    return torch.stack([tensors[side] for side in SIDES if side in tensors], dim=1)
