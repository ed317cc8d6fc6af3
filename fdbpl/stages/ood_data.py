"""Which regions and images count as in-distribution (ID), and which as out-of-distribution (OOD).

ID is what shows a base class. No model is asked: a drawing's mask, the plan and the class names
decide.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fdbpl.data.splits import halve
from fdbpl.playground import datasets as playground
from fdbpl.regions.boxes import REGION, CropPolicy, draw_regions
from fdbpl.regions.plan import TEST, Plan
from fdbpl.system.files import canonical_json

PAIRS = 1  # of regions of each base test image
SHOWN = 0.5  # the least share of the main object's visible pixels that an ID region shows
MARGIN = 2  # pixels around an empty region that are empty too: outlines reach past the mask
TRIES = 32  # sizes drawn for an image; larger ones rarely fit beside its objects
LAW = CropPolicy(scale=(0.08, 0.5), flip=0.0)  # apart from params.yaml: the test stays the same

Ints = NDArray[np.int64]


def region_pairs(plan: Plan, world: int = 1) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return REGION records that show the main object (ID), and as many empty ones (OOD).

    For base test images of a drawn dataset. Both of a pair are of one image and one size, so that
    neither the size nor the picture gives the answer away. Sizes are drawn by the crop law; of all
    places where a region of that size shows at least SHOWN of the main object one is drawn, and
    one of all where it and its margin hold no object. A size without either is passed over.
    """
    rows = images_of(plan, halve(plan.labels)[0])
    pairs = [places(plan.name, plan.paths[row], world=world) for row in rows]
    regions = np.zeros(sum(map(len, pairs)), REGION)
    regions["image"] = np.repeat(rows, [len(boxes) for boxes in pairs])
    regions["crop"] = np.concatenate([np.arange(len(boxes)) for boxes in pairs])
    showing, empty = regions, regions.copy()
    boxes = np.concatenate(pairs)
    showing["box"], empty["box"] = boxes[:, 0], boxes[:, 1]
    return showing, empty


def places(dataset: str, path: str, count: int = PAIRS, world: int = 1) -> NDArray[np.int32]:
    """Return up to `count` pairs of boxes (n, 2, 4) in one drawn image: showing, and empty."""
    split, index = playground.image_of(path)
    main, things = playground.shown(dataset, split, index, world)
    seed = canonical_json([playground.world_digest(world), "places", dataset, split, index])
    key = blake2b(seed, digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    pairs: list[list[NDArray[np.int32]]] = []
    for box in draw_regions(0, 0, key, playground.SIZE, playground.SIZE, TRIES, LAW)["box"]:
        size = box[2:] - box[:2]
        showing = np.argwhere(_sums(main, size) >= SHOWN * main.sum())
        empty = np.argwhere(_sums(np.pad(things, MARGIN), size + 2 * MARGIN) == 0)
        if len(showing) and len(empty):
            corners = (choice[rng.integers(len(choice))][::-1] for choice in (showing, empty))
            pairs.append([np.concatenate([corner, corner + size]) for corner in corners])
        if len(pairs) == count:
            break
    return np.array(pairs, np.int32).reshape(-1, 2, 4)


def _sums(mask: NDArray[np.bool_], size: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return how much of a mask each window of `size` (width, height) holds, by top and left."""
    width, height = size.tolist()
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    below, above = sums[height:], sums[:-height]
    held: NDArray[np.int64] = below[:, width:] - below[:, :-width] - above[:, width:]
    return held + above[:, :-width]


def images_of(plan: Plan, labels: Sequence[int]) -> Ints:
    """Return the rows of the test images of these classes."""
    among = np.isin(plan.images["label"], labels) & (plan.images["split"] == TEST)
    return np.flatnonzero(among).astype(np.int64)


def far_images(plan: Plan, others: Mapping[str, Plan]) -> dict[str, Ints]:
    """Return rows of test images of each other dataset, about as many in all as ID images.

    Every other dataset gives the same number, if it has it, drawn by the two names alone. Images
    of a class that is called as one of the base classes are left out.
    """
    base_names = {plan.class_names[label] for label in halve(plan.labels)[0]}
    share = -(-len(images_of(plan, halve(plan.labels)[0])) // max(1, len(others)))
    return {name: _sample(plan.name, other, base_names, share) for name, other in others.items()}


def _sample(dataset: str, other: Plan, base_names: set[str], count: int) -> Ints:
    free = [label for label, name in enumerate(other.class_names) if name not in base_names]
    rows = images_of(other, free)
    key = blake2b(canonical_json(["foreign", dataset, other.name]), digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return np.sort(rng.permutation(rows)[:count])
