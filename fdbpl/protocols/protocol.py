"""What a protocol is: which classes are learned, from how many shots, and what is tested."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from typing import Protocol as Interface

from numpy.typing import NDArray

from fdbpl.classify.decision import Decision
from fdbpl.evaluation.record import Kind

Labels = tuple[int, ...]
"""Labels, ascending."""

Shots = int | Literal["all"]
"""Images of each class."""


class Wanted(Interface):
    """What the parameters say of protocols."""

    @property
    def source(self) -> str:
        """The dataset that a transfer learns on."""

    @property
    def shifted(self) -> Collection[str]:
        """The datasets that show the source in other pictures."""

    @property
    def counts(self) -> list[Shots]:
        """The numbers of shots, ascending."""


@dataclass(frozen=True)
class Classes:
    """The labels that are learned, and by name every label space that is tested."""

    learned: Labels
    tested: Mapping[str, Labels]


@dataclass(frozen=True)
class Protocol:
    """A protocol as data; plan, cache, train, evaluate and compare are the same code for each.

    Attributes:
        name: as `protocols` in params.yaml says it; folders of prompts are called so.
        title: what a table is headed with.
        classes: from the labels that have training images, and those of all class names, to what
            is learned and tested.
        measure: from features (T, D), labels (T,), what decides between all classes, and the
            label spaces tested, to accuracies.
        learns_every_count: whether each of several `shots` is learned from; else the last alone.
        learns_on_source: whether `source` alone is learned on and every dataset tested, to whose
            class names the prompts are carried; else each dataset is learned and tested by itself.
        needs_labels: whether training images without a class rule a dataset out.
        gives_labels: whether methods may read the labels of training images.
        trained_as: another protocol that learns from the same images: where it is wanted too,
            nothing is learned twice.
    """

    name: str
    title: str
    classes: Callable[[Labels, Labels], Classes]
    measure: Callable[
        [NDArray[Any], NDArray[Any], Decision, Mapping[str, Labels]], Mapping[str, Any]
    ]
    learns_every_count: bool = False
    learns_on_source: bool = False
    needs_labels: bool = True
    gives_labels: bool = True
    trained_as: str | None = None

    def learned_on(self, params: Wanted, dataset: str) -> str | None:
        """Return the dataset whose training is tested on this one; None: it takes no part."""
        if self.learns_on_source:
            return params.source
        return None if dataset in params.shifted else dataset

    def learns_on(self, params: Wanted, dataset: str) -> bool:
        """Tell whether anything is learned on a dataset."""
        return self.learned_on(params, dataset) == dataset

    def counts(self, params: Wanted) -> list[Shots]:
        """Return the numbers of shots learned from."""
        return params.counts if self.learns_every_count else params.counts[-1:]

    def kind(self, params: Wanted, dataset: str) -> Kind:
        """Return what a tested dataset is to the one that was learned on."""
        if self.learns_on(params, dataset):
            return "own"
        return "shifted" if dataset in params.shifted else "cross-dataset"
