"""Base and new classes, and the few shots: pure functions of the file lists.

The protocol of CoOp and CoCoOp: base is the first half of the sorted labels of the training
split, new is the rest; a method learns from a few images of each base class.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from fdbpl.data.dataset import UNKNOWN, Item
from fdbpl.system.errors import UserError

HELD_OUT = 1000
"""Images without a class that are held out at most: enough for a share to be sure to 3 points."""


def base_and_new(train: Iterable[Item]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the base labels, the first ceil(n / 2) of the sorted labels, and the new ones.

    Raises:
        UserError: a training image has no class, so there are no halves.
    """
    labels = sorted({item.label for item in train})
    if UNKNOWN in labels:
        raise UserError(
            "training images without a class: base-to-new learns from the first half of the "
            "classes, and wanted a class for each image. Give a folder per class, or fill in the "
            "table's column class."
        )
    return halve(tuple(labels))


def halve(labels: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first ceil(n / 2) of ascending labels, and the others."""
    half = (len(labels) + 1) // 2
    return labels[:half], labels[half:]


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


def hold_out(items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Return training and test images of a dataset that names no splits.

    The first fifth of each class in the drawing order of seed 0 is for the test, and at least one
    image of a class of two or more. Images without a class are for training.
    """
    train: list[Item] = []
    test: list[Item] = []
    for label, group in draw_order(items, seed=0).items():
        count = 0 if label == UNKNOWN or len(group) == 1 else max(1, len(group) // 5)
        test += group[:count]
        train += group[count:]
    return tuple(sorted(train, key=_by_label)), tuple(sorted(test, key=_by_label))


def hold_out_unlabelled(items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Return training and held-out images of a dataset whose images have no class.

    The first fifth in the drawing order of seed 0 is held out, at most `HELD_OUT` images.
    """
    order = draw_order(items, seed=0).get(UNKNOWN, [])
    count = min(len(order) // 5, HELD_OUT)
    return tuple(sorted(order[count:])), tuple(sorted(order[:count]))


def _by_label(item: Item) -> tuple[int, str]:
    return item.label, item.path
