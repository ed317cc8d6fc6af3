"""A method around another one, which is learned as the other is, of what it is shown."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Self

from fdbpl.methods.batch import Batch, Floats, Tensors, Terms
from fdbpl.methods.method import Classes, Method

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fdbpl.clip.model import ClipModel
    from fdbpl.methods.params import TrainParams
    from fdbpl.methods.training_data import TrainingData


class Wrapped(Method):
    """Another method, under a name of its own.

    What it depends on, where it starts, and how it decides, a subclass says.

    Attributes:
        inner: the other method, whose options these are.
    """

    def __init__(self, name: str, title: str, inner: Method) -> None:
        """Name the two together."""
        super().__init__(name, title, inner.options)
        self.inner, self.labelled = inner, inner.labelled

    def with_options(self, changes: Mapping[str, Any]) -> Self:
        """Return both with some of the other method's options changed."""
        changed = copy(self)
        changed.inner = self.inner.with_options(changes)
        changed.options = changed.inner.options
        return changed

    @property
    def takes_steps(self) -> bool:
        """Whether the other method does."""
        return self.inner.takes_steps

    @property
    def learned_by(self) -> Sequence[type]:
        """The classes of both."""
        return type(self), Wrapped, *self.inner.learned_by

    def require_student(self, clip: "ClipModel") -> None:
        """Take any that the other method does."""
        self.inner.require_student(clip)

    def recipe(self, params: "TrainParams") -> "TrainParams":
        """Return the other method's schedule."""
        return self.inner.recipe(params)

    def epoch_weights(self, params: "TrainParams") -> Sequence[float] | None:
        """Return the other method's."""
        return self.inner.epoch_weights(params)

    def optimiser(self, learned: Sequence["Tensor"], params: "TrainParams") -> "Optimizer":
        """Return the other method's."""
        return self.inner.optimiser(learned, params)

    def shown(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Batch:
        """Return what the other method is shown of a batch."""
        return batch

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the other method's, of what it is shown."""
        return self.inner.loss(tensors, self.shown(tensors, batch, data), data)

    def diagnose(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the other method's, of what it is shown."""
        return self.inner.diagnose(tensors, self.shown(tensors, batch, data), data)

    def vectors(self, arrays: Mapping[str, Floats], classes: Classes) -> dict[str, Floats]:
        """Return the other method's."""
        return self.inner.vectors(arrays, classes)
