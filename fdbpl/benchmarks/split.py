"""Base and new classes, and the few shots: pure functions of the file lists.

The protocol of CoOp and CoCoOp: base is the first half of the sorted labels of the training
split, new is the rest; a method learns from a few images of each base class.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from fdbpl.benchmarks.dataset import Item


def base_and_new(train: Iterable[Item]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the base labels, the first ceil(n / 2) of the sorted labels, and the new ones."""
    labels = sorted({item.label for item in train})
    half = (len(labels) + 1) // 2
    return tuple(labels[:half]), tuple(labels[half:])


def draw_order(items: Sequence[Item], seed: int) -> dict[int, list[Item]]:
    """Return each label's images in the order in which shots are drawn from them.

    The order sorts a keyed hash of the relative path. So it does not depend on how a file
    system lists files or where the folder lies; fewer shots are a prefix of more shots; and
    adding an image or a class leaves the order of all others as it was.
    """
    by_label: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        by_label[item.label].append(item)
    key = seed.to_bytes(8, "little")
    return {
        label: sorted(
            group,
            key=lambda item: (
                hashlib.blake2b(item.path.encode(), key=key, digest_size=16).digest(),
                item.path,
            ),
        )
        for label, group in sorted(by_label.items())
    }
