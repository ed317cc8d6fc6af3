"""Where training takes a region's features from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.cache.cache import Cache
from fdbpl.cache.stream import FeatureStream, row_bytes
from fdbpl.system.device import moved

CPU = torch.device("cpu")
STREAM_BYTES = 256 << 20  # of one model's features in memory, where not all are held

Lookup = Callable[[Tensor], Tensor]
"""Rows (...) of the plan's regions to what is known of each in float32: one model's unit features
(..., D), or a number (...)."""

FeatureSource = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows (...) to student features (..., D) and teacher features (..., E), where training runs."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A source that is faster, or only bounded in memory, when it knows the steps to come."""

    def in_order(self, steps: Sequence[Tensor]) -> Iterator[Any]:
        """Yield what a call gives for each of the steps' rows."""


def in_order(source: Callable[[Tensor], Any], steps: Sequence[Tensor]) -> Iterator[Any]:
    """Yield source(rows) for the rows of each step."""
    return source.in_order(steps) if isinstance(source, ReadsAhead) else map(source, steps)


@dataclass(frozen=True)
class PairedFeatures:
    """The features of student and teacher, each from its own source, brought to one device."""

    student: Lookup
    teacher: Lookup
    device: torch.device = CPU

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ask both for the rows."""
        return self._here((self.student(rows), self.teacher(rows)))

    def in_order(self, steps: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Ask both for the rows of each step."""
        both = zip(in_order(self.student, steps), in_order(self.teacher, steps), strict=True)
        yield from map(self._here, both)

    def _here(self, both: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        student, teacher = both
        return moved(student, self.device), moved(teacher, self.device)


@dataclass(frozen=True)
class CachedColumn:
    """One model's features (R, D), or a number (R,), of all regions in memory, of any device."""

    features: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Look the rows up, in float32."""
        return self.features[moved(rows, self.features.device)].float()


@dataclass(frozen=True)
class StreamedFeatures:
    """One model's features of all regions where they lie, for caches larger than memory."""

    stream: FeatureStream

    def __call__(self, rows: Tensor) -> Tensor:
        """Read the rows, in float32."""
        return torch.from_numpy(self.stream.take(rows.numpy())).float()

    def in_order(self, steps: Sequence[Tensor]) -> Iterator[Tensor]:
        """Read the rows of each step, in float32, ahead of their use."""
        for values in self.stream.in_order([rows.numpy() for rows in steps]):
            yield torch.from_numpy(values).float()


def cached_features(cache: Cache, memory: int) -> NDArray[Any] | StreamedFeatures:
    """Return the features of a cache's regions: held whole if `memory` bytes do, else streamed."""
    if cache.manifest.tables["train"].rows * row_bytes(cache, "train") <= memory:
        return cache.features("train")
    return StreamedFeatures(FeatureStream(cache, "train", memory=min(memory, STREAM_BYTES)))


@dataclass(frozen=True)
class Teacher:
    """The teacher's side of distillation: class vectors (C, E) and the scale of its logits."""

    vectors: Tensor
    scale: float

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log softmax over the classes (B, C) of unit features (B, E)."""
        return torch.log_softmax(self.scale * features @ self.vectors.T, dim=-1)
