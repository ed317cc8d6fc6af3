"""The pictures that a classifier is surest of and wrong, and a typical picture of each class."""

import heapq
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key")


class Judged(NamedTuple, Generic[Key]):
    """One picture and what it was taken for.

    Attributes:
        key: whatever tells it from others, such as its path.
        shown: label of the class that it shows.
        taken: label of the class that it was taken for.
        probability: of the latter, in [0, 1].
    """

    key: Key
    shown: int
    taken: int
    probability: float

    @property
    def is_wrong(self) -> bool:
        """Whether it was taken for another class than it shows."""
        return self.taken != self.shown


class Surest(NamedTuple, Generic[Key]):
    """What is worth a look.

    Attributes:
        mistakes: pictures that were taken wrongly, the surest first; of equals the earlier.
        examples: by label, the picture of the class that was found most surely; where none was
            found, the one that was taken wrongly least surely.
    """

    mistakes: list[Judged[Key]]
    examples: dict[int, Judged[Key]]


def surest(judged: Iterable[Judged[Key]], most: int) -> Surest[Key]:
    """Look through pictures once, and keep no more than are returned.

    Args:
        judged: any number of pictures.
        most: mistakes that are wanted.
    """
    heap: list[tuple[float, int, Judged[Key]]] = []
    examples: dict[int, Judged[Key]] = {}
    for place, one in enumerate(judged):
        if one.is_wrong and most:
            push = heapq.heappush if len(heap) < most else heapq.heappushpop
            push(heap, (one.probability, -place, one))
        if one.shown not in examples or _typical(one) > _typical(examples[one.shown]):
            examples[one.shown] = one
    return Surest([one for _, _, one in sorted(heap, reverse=True)], examples)


def _typical(one: Judged[Key]) -> float:
    return -one.probability if one.is_wrong else one.probability
