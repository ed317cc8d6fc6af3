"""What a method is: what it learns, from what, by which loss, and how it decides.

Importing a method loads no torch: whoever only names methods or reads results need not wait for it.
So a method works on tensors by their own operations, and imports torch where it makes some.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ValidationError

from fdbpl.classify.decision import Decision, Role
from fdbpl.methods.batch import Batch, Floats, Tensors, Terms
from fdbpl.system.errors import UserError
from fdbpl.system.section import Section, explain

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fdbpl.clip.model import ClipModel
    from fdbpl.methods.params import TrainParams
    from fdbpl.methods.training_data import TrainingData


@dataclass(frozen=True)
class Classes:
    """A list of C classes that a method is to tell apart, as the frozen models know their names.

    Attributes:
        names: C of them.
        scale: exp(logit_scale) of the student.
        learned: names of the classes learned from, in the order of labels; none of a vocabulary.
        texts: the student's unit class features (C, D) under hand-written prompts: "template" the
            dataset's, and "generic", "ensemble" and "negative" where a cache has them.
        teacher: (C, E) the teacher's under the dataset's template.
        encode: contexts (K, M, W), or deep ones, to the student's unit class features (K, C, D).
        clip: the student, for methods that ask its text tower for more than `encode`.
        same_domain: whether they are of the domain that was learned, in its own or in shifted
            pictures. Of any other domain what was fitted to pictures knows nothing, be the names
            the same.
    """

    names: Sequence[str]
    scale: float
    learned: Sequence[str] = ()
    texts: Mapping[str, Floats] = field(default_factory=dict)
    teacher: Floats | None = None
    encode: Callable[[Floats], Floats] | None = None
    clip: "ClipModel | None" = None
    same_domain: bool = True

    def teacher_of(self, width: int) -> Floats:
        """Return the teacher's class vectors (C, E), where E is this width.

        Raises:
            UserError: nobody gave them, or others.
        """
        wanted = [len(self.names), width]
        shape = None if self.teacher is None else list(self.teacher.shape)
        if self.teacher is None or shape != wanted:
            raise UserError(
                "this method decides by its teacher's class vectors; teacher_vectors has shape "
                f"{shape}, wanted {wanted}: the teacher's template_vectors of the same classes. "
                "Pass teacher_vectors=..."
            )
        return self.teacher

    def text(self, name: str) -> Floats:
        """Return the student's class features (C, D) under one of the hand-written prompts.

        Raises:
            UserError: nobody gave them.
        """
        if name not in self.texts:
            raise UserError(
                f"this method classifies with a share of a hand-written prompt, {name!r}, and none "
                "is given. Pass template=..., with one {} for the class name."
            )
        return self.texts[name]


@dataclass(frozen=True)
class Start:
    """Where one seed's training begins: tensors that are learned, and others its loss reads.

    Or keeps count in, such as a batch norm's running moments. Both are saved under their names,
    which differ.
    """

    learned: Mapping[str, "Tensor"]
    fixed: Mapping[str, "Tensor"] = field(default_factory=dict)


class ClosedForm:
    """Arrays that follow from one seed's regions without steps: a frozen dataclass of options.

    Attributes:
        reads_classes: whether it needs to know the classes: not those of a vocabulary, then.
    """

    reads_classes: ClassVar[bool] = True

    @property
    def reads_source(self) -> bool:
        """Whether it may also read the regions of the source dataset."""
        return False

    def fit(self, data: "TrainingData", seed: int) -> tuple[dict[str, Floats], dict[str, Any]]:
        """Return the arrays by name, and what a history tells of them, as plain values."""
        raise NotImplementedError


class NoOptions(Section):
    """The options of a method that has none."""


class Method:
    """A method; what it leaves as here, it does without.

    Attributes:
        name: as in `params.yaml` and in every result.
        title: as tables call it.
        options: what distinguishes it, of the type `Options`.
        labelled: whether it reads the class of every training image.
        transfers: whether it decides between classes that it was not learned on.
        sees: whose features it learns from and judges.
        takes_projected: whether, seeing "hidden", it does with features after the projection, too.
        asks_teacher: whether it decides by the teacher's class vectors, too.
    """

    Options: ClassVar[type[Section]] = NoOptions
    labelled: bool = False
    transfers: ClassVar[bool] = True
    sees: Role = "student"
    takes_projected: ClassVar[bool] = False
    asks_teacher: ClassVar[bool] = False

    def __init__(self, name: str, title: str, options: Section | None = None) -> None:
        """Name a method, perhaps with options other than its defaults."""
        self.name, self.title = name, title
        self.options: Any = options or self.Options()

    def with_options(self, changes: Mapping[str, Any]) -> Self:
        """Return the method with some options changed.

        Raises:
            UserError: an unknown option, or a value that is not allowed.
        """
        if changes and not self.Options.model_fields:
            raise UserError(f"method {self.name!r} has no options, found {dict(changes)}.")
        changed = copy(self)
        try:
            changed.options = self.Options.model_validate({**self.options.model_dump(), **changes})
        except ValidationError as error:
            above = ("objectives", self.name)
            raise UserError(explain(error, self.Options, above=above)) from None
        return changed

    @property
    def training(self) -> list[Any]:
        """What its learned tensors depend on, as plain values: methods that agree learn the same.

        By default all options, so that none is forgotten.
        """
        return [type(self).__name__, self.options.model_dump(mode="json")]

    @property
    def closed_form(self) -> Sequence[ClosedForm]:
        """What follows from its regions without steps."""
        return ()

    @property
    def takes_steps(self) -> bool:
        """Whether it learns tensors by its loss."""
        return type(self).loss is not Method.loss

    @property
    def learned_by(self) -> Sequence[type]:
        """The classes whose modules learn it: where these change, it is learned anew."""
        return (type(self),)

    @property
    def learns(self) -> bool:
        """Whether there is anything to keep of a training."""
        return self.takes_steps or bool(self.closed_form)

    @property
    def reads_source(self) -> bool:
        """Whether anything of it also follows from the regions of the source dataset."""
        return any(form.reads_source for form in self.closed_form)

    @property
    def image_layer(self) -> int | None:
        """The layer from which its loss runs the student's image tower; None if it does not.

        From 0 it reads pixels of regions, from a later one what that layer is given of them: they
        are cached for it then.
        """
        return None

    def require_student(self, clip: "ClipModel") -> None:
        """Look whether this student can be learned with, before anything is encoded.

        A method that sees "hidden" and nothing else wants one that shows such features.

        Raises:
            UserError: it cannot.
        """
        if self.sees == "hidden" and not self.takes_projected:
            from fdbpl.clip.projection import last_projection

            last_projection(clip)

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return where a seed's training begins."""
        raise NotImplementedError

    def recipe(self, params: "TrainParams") -> "TrainParams":
        """Return the schedule it trains by, from that of params.yaml."""
        return params

    def epoch_weights(self, params: "TrainParams") -> Sequence[float] | None:
        """Return the weights (epochs,) of the mean of tensors that is kept; None keeps the last."""
        return None

    def optimiser(self, learned: Sequence["Tensor"], params: "TrainParams") -> "Optimizer":
        """Return the optimiser of its tensors: SGD, as of the CoOp family."""
        import torch

        return torch.optim.SGD(
            list(learned),
            lr=params.lr,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
        )

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the terms of the loss for the tensors, learned and fixed, of S seeds."""
        raise NotImplementedError

    def diagnose(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return values (S,) that show whether the loss's parts are alive, where it has any."""
        return {}

    def vectors(self, arrays: Mapping[str, Floats], classes: Classes) -> dict[str, Floats]:
        """Return unit class vectors (C, D) that a classifier file keeps beside its decision."""
        return {}

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return what decides between the classes.

        Args:
            arrays: of one seed: tensors by name, and what followed in closed form.
            classes: learned ones, others, or both.

        Raises:
            UserError: `classes` lacks what the method needs.
        """
        raise NotImplementedError
