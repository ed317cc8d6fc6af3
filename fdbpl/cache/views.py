"""Views: all that a cache holds features of, the regions and the test images of a plan."""

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.keys import KEY_BYTES, Keys, sortable, view_keys
from fdbpl.regions.plan import Plan
from fdbpl.system.files import canonical_json, sha256

VIEW = np.dtype(
    [
        ("key", "u1", (KEY_BYTES,)),
        ("image", "<i8"),  # row of the plan's images
        ("is_region", "?"),  # else the test view of the whole image, with zero for box and flip
        ("box", "<i4", (4,)),
        ("flip", "u1"),
    ]
)

Places = NDArray[np.int64]


def views_of(plan: Plan, digest: str, part: slice) -> NDArray[np.void]:
    """Return a part of the plan's views, (n,) VIEW, with the keys that they have under `digest`.

    part: start and stop among all views, the training regions and then the test views, both in
    canonical order.
    """
    count = len(plan.regions)
    regions = plan.regions[part.start : part.stop]
    test = plan.test[max(0, part.start - count) : max(0, part.stop - count)]
    views = np.zeros(len(regions) + len(test), VIEW)
    drawn, whole = views[: len(regions)], views[len(regions) :]
    drawn["is_region"] = True
    for name in ("image", "box", "flip"):
        drawn[name] = regions[name]
    whole["image"] = test
    hashes = image_hashes(plan)
    drawn["key"] = view_keys(digest, hashes[drawn["image"]], drawn["box"], drawn["flip"])
    whole["key"] = view_keys(digest, hashes[test])
    return views


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
