"""What is drawn at random."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Random = np.random.Generator
T = TypeVar("T")


def one_of(random: Random, choices: Sequence[T]) -> T:
    """Draw one."""
    return choices[int(random.integers(len(choices)))]
