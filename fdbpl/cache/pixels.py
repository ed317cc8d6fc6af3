"""The pixels of a plan's views as a cache of their own, for methods that prompt the image tower.

Those of regions, and of test images, which each such method sees under its own prompts. The region
store has no part in it: a region's pixels take many times the bytes of its feature,
and need no model: they are cut again for another plan. An interrupted build goes on at the first
shard that it had not finished, unless DVC runs it, which removes what a stage left.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fdbpl.cache.build import Counts, columns_of, identity_of, slices
from fdbpl.cache.cache import CacheWriter
from fdbpl.cache.encode import Chunk, chunk_of, cut
from fdbpl.cache.keys import digest_of
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

    of_views: plain values that decide all its views; image_size: S, their side.
    """

    @property
    def of_views(self) -> Mapping[str, Any]: ...  # noqa: D102
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
    """Write the cache of the pixels of a plan's views, and return what had to be cut.

    folder: holds the images of plan.paths; url: any fsspec URL for the cache; progress: called with
    (views done, views); threads: decode and crop.

    The table "train" has the columns key, image, crop, box, flip and pixels (3, S, S) for
    plan.regions, the table "test" key, image and pixels for plan.test. Equal arguments give equal
    bytes, however often the build was interrupted.
    Raises UserError naming the file when an image does not decode or is not the planned one, and
    when the cache cannot be written.
    """
    shape = (3, cropper.image_size, cropper.image_size)
    row_bytes = math.prod(shape)
    made = {"model": {}, "encoder": cropper.of_views, "payload": PAYLOAD}
    writer, digest = CacheWriter(url, identity_of(plan, "pixels", made)), pixels_digest(cropper)
    regions, total, reused = len(plan.regions), len(plan.regions) + len(plan.test), 0
    for table, whole in (("train", slice(0, regions)), ("test", slice(regions, total))):
        for part in slices(whole, max(1, SHARD_BYTES // row_bytes)):
            views = views_of(plan, digest, part)
            known = {"key": views["key"], **columns_of(plan, part)}
            if table == "test":
                known = {"key": views["key"], "image": views["image"].astype(np.uint32)}
            if writer.add_again(table, known):
                reused += len(views)
                continue
            pixels = np.empty((len(views), *shape), DTYPE)
            for done, view in enumerate(_cut(chunk_of(plan, views), folder, cropper, threads)):
                pixels[done] = less_green(view)
                progress(part.start + done + 1, total)
            # a block is one view, since training asks for regions from everywhere
            writer.add(table, {**known, COLUMN: pixels}, block_bytes=row_bytes)
    writer.finish()
    return Counts(total - reused, reused, ())


def _cut(chunk: Chunk, folder: Path, cropper: Cropper, threads: int) -> Iterator[Views]:
    """Yield the view (3, S, S) of each of a chunk's views; each image is decoded about once."""
    jobs = ((chunk, views) for views in chunk.by_image(AT_ONCE))
    for views_of_image in ahead(partial(cut, folder, cropper.view), jobs, threads):
        yield from views_of_image


def pixels_digest(cropper: Cropper) -> str:
    """Return the digest of all that decides kept pixels beside the view."""
    return digest_of({**cropper.of_views, **PAYLOAD}, DECODER, DTYPE)


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
