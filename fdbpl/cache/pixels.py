"""The pixels of a plan's regions as a cache of their own, for methods that prompt the image tower.

The region store has no part in it: a region's pixels take many times the bytes of its feature,
and need no model: they are cut again for another plan. An interrupted build goes on at the first
shard that it had not finished, unless DVC runs it, which removes what a stage left.
"""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fdbpl.cache.build import Counts, columns_of, identity_of
from fdbpl.cache.cache import CacheWriter
from fdbpl.cache.encode import chunk_of, cut
from fdbpl.cache.keys import KEY_BYTES, digest_of
from fdbpl.cache.views import views_of
from fdbpl.data.images import DECODER
from fdbpl.regions.boxes import Box
from fdbpl.regions.plan import Plan
from fdbpl.system.ahead import ahead
from fdbpl.system.progress import Report, silent

COLUMN = "pixels"
DTYPE = np.dtype("|u1")
PAYLOAD = {"name": "uint8", "planes": "red - green, green, blue - green"}
SHARD_BYTES = 128 << 20  # of pixels that one shard is made from: the last to be lost, and in memory

AT_ONCE = 64  # regions that are cut of an image decoded once: they wait in memory to be written

Views = NDArray[np.uint8]


class Cropper(Protocol):
    """Cuts views out of images; `view` is called from several threads at once.

    of_regions: plain values that decide all its views of regions; image_size: S, their side.
    """

    @property
    def of_regions(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def image_size(self) -> int: ...  # noqa: D102

    def view(self, image: Image, box: Box | None, flip: bool) -> Views:
        """Return the view (3, S, S) of a region."""


def build_pixels(
    plan: Plan,
    folder: Path,
    cropper: Cropper,
    url: str | Path,
    *,
    progress: Report = silent,
    threads: int = 2,
) -> Counts:
    """Write the cache of the pixels of plan.regions, and return what had to be cut.

    folder: holds the images of plan.paths; url: any fsspec URL for the cache; progress: called with
    (regions done, regions); threads: decode and crop.

    The table "train" has the columns key, image, crop, box, flip and pixels (3, S, S); the table
    "test" the same columns but box and flip, and no rows: each test image is seen once, so its
    pixels are no sooner read than made. Equal arguments give equal bytes, however often the build
    was interrupted.
    Raises UserError naming the file when an image does not decode or is not the planned one, and
    when the cache cannot be written.
    """
    made = {"model": {}, "encoder": cropper.of_regions, "payload": PAYLOAD}
    writer, digest = CacheWriter(url, identity_of(plan, "pixels", made)), pixels_digest(cropper)
    shape, total, reused = (3, cropper.image_size, cropper.image_size), len(plan.regions), 0
    row_bytes = math.prod(shape)
    rows = max(1, SHARD_BYTES // row_bytes)
    for start in range(0, max(1, total), rows):
        part = slice(start, min(start + rows, total))
        views = views_of(plan, digest, part)
        known = {"key": views["key"], **columns_of(plan, part)}
        if writer.add_again("train", known):
            reused += len(views)
        else:
            pixels, done = np.empty((len(views), *shape), DTYPE), 0
            chunk = chunk_of(plan, views)
            jobs = ((chunk, views) for views in chunk.by_image(AT_ONCE))
            for views_of_image in ahead(partial(cut, folder, cropper.view), jobs, threads):
                for view in views_of_image:
                    pixels[done] = less_green(view)
                    done += 1
                progress(start + done, total)
            # a block is one region, since training asks for regions from everywhere
            writer.add("train", {**known, COLUMN: pixels}, block_bytes=row_bytes)
    none = np.empty((0, *shape), DTYPE)
    no_key, no_image = np.empty((0, KEY_BYTES), np.uint8), np.empty(0, np.uint32)
    writer.add("test", {"key": no_key, "image": no_image, COLUMN: none})
    writer.finish()
    return Counts(total - reused, reused, ())


def pixels_digest(cropper: Cropper) -> str:
    """Return the digest of all that decides kept pixels beside the region."""
    return digest_of({**cropper.of_regions, **PAYLOAD}, DECODER, DTYPE)


def less_green(pixels: Views) -> Views:
    """Return planes (..., 3, S, S) as they are kept: green, and how red and blue differ from it.

    The colours of photographs go together, so less is left of them, for two additions of whole
    planes (modulo 256) when they are read.
    """
    kept = pixels.copy()
    kept[..., ::2, :, :] -= pixels[..., 1:2, :, :]
    return kept


def add_green(kept: Views) -> None:
    """Make red, green and blue of planes (3, S, S) that `less_green` returned, in place."""
    red, green, blue = kept
    red += green
    blue += green
