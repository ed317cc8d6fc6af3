"""Views: all that a cache holds features of, the regions and the test images of a plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.keys import Keys, sortable, view_keys
from fdbpl.regions.region_file import Regions
from fdbpl.system.files import canonical_json, sha256

Places = NDArray[np.int64]


class Plan(Protocol):
    """What is read of a plan. Arrays are in canonical order.

    name: of the dataset; digest: of the plan; paths: image files relative to the dataset's folder;
    images: structured, with `hash` of 16 bytes; regions: REGION of the training images, read by
    parts; test: (n,) rows of test images in `images`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def paths(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def images(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def regions(self) -> Regions: ...  # noqa: D102
    @property
    def test(self) -> NDArray[Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Views:
    """Training regions, then test views, in canonical order.

    keys: (n, 16); images: (n,) rows of the plan's images; boxes: (n, 4) and flips: (n,), zero for
    test views; regions: how many of the n are regions.
    """

    keys: Keys
    images: Places
    boxes: NDArray[np.int32]
    flips: NDArray[np.uint8]
    regions: int


def views_of(plan: Plan, digest: str, part: slice) -> Views:
    """Return a part of the plan's views, with the keys that they have under `digest`.

    part: start and stop among all views, the regions and then the test views.
    """
    count = len(plan.regions)
    regions = plan.regions[part.start : part.stop]
    tests = slice(max(0, part.start - count), max(0, part.stop - count))
    test = np.asarray(plan.test[tests], np.int64)
    hashes = image_hashes(plan)
    images = np.concatenate([regions["image"].astype(np.int64), test])
    return Views(
        keys=np.concatenate(
            [
                view_keys(digest, hashes[regions["image"]], regions["box"], regions["flip"]),
                view_keys(digest, hashes[test]),
            ]
        ),
        images=images,
        boxes=np.concatenate([regions["box"], np.zeros((len(test), 4), np.int32)]),
        flips=np.concatenate([regions["flip"], np.zeros(len(test), np.uint8)]),
        regions=len(regions),
    )


def image_hashes(plan: Plan, rows: Places | slice = slice(None)) -> Keys:
    """Return the (n, 16) content hashes of some rows of the plan's images, or of all."""
    return np.ascontiguousarray(plan.images["hash"][rows]).view(np.uint8).reshape(-1, 16)


def image_list_digest(plan: Plan) -> str:
    """Return the SHA-256 of the images' contents and paths, in the plan's order."""
    return sha256(canonical_json([image_hashes(plan).tobytes().hex(), list(plan.paths)]))


def distinct(keys: Keys) -> Places:
    """Return, ascending, the place of the first appearance of each distinct key."""
    places: Places = np.sort(np.unique(sortable(keys), return_index=True)[1]).astype(np.int64)
    return places
