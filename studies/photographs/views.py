"""Views of the pictures that pre-training sees, and what the students' image tower makes of each.

View 0 is the whole picture; each further one is a random square of it, mirrored or not, that the
seed, the view's number and the picture's path decide.
"""

import io
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdbpl.clip.preprocessing import Preprocessing
from studies.photographs.features import encode, encoder, features, stored
from studies.photographs.parts import DATASETS, Picture, decode, read_part

CUTS = 1
"""Views of a picture beside the whole."""

SEED = 4
"""Of all squares."""

SMALLEST = 0.4
"""Of a square's side, as a share of the picture's shorter side."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def seen(picture: Picture, view: int, seed: int) -> Image.Image:
    """Return a view of a picture: all of it as number 0, else a square.

    The square's side is a share of the shorter side drawn evenly from SMALLEST to 1, its place is
    anywhere, and one in two is mirrored.

    Args:
        picture: of any size.
        view: its number.
        seed: of all squares.
    """
    image = decode(picture)
    if not view:
        return image
    rng = np.random.default_rng((seed, view, zlib.crc32(picture.path.encode())))
    side = max(1, round(rng.uniform(SMALLEST, 1) * min(image.size)))
    left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    mirrored = rng.random() < 0.5
    return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square


def cut(picture: Picture, view: int, seed: int) -> Picture:
    """Return a view as a picture of its own, saved without loss."""
    data = io.BytesIO()
    seen(picture, view, seed).save(data, "PNG", compress_level=1)
    return picture._replace(data=data.getvalue())


def hidden(
    photos: Path, out: Path, model: str, view: int, seed: int, say: Callable[[str], None]
) -> Floats:
    """Return the unit features (n, E) of a view of all pretrain pictures, in the parts' order.

    Args:
        photos: where the tar files lie.
        out: holds the features of whole pictures, and below `vit` those of further views.
        model: of `fdbpl.clip.small.PAIR`, whose image tower it is.
        view: its number.
        seed: of all squares.
        say: told of every dataset that was encoded.
    """
    if not view:
        whole = features(photos, "pretrain", model, out / "features", say)
        return np.concatenate(list(whole.values()))
    found, tower = list[Floats](), None
    for dataset in DATASETS:
        folder = out / "vit" / "features" / model / f"{dataset}-{seed}-{view}"
        if not folder.is_dir():
            tower = tower or encoder(model)
            cuts = [cut(one, view, seed) for one in read_part(photos, dataset, "pretrain")]
            encode(tower, cuts, folder)
            say(f"{dataset}: view {view} encoded by the tower of {model}")
        found.append(stored(folder))
    return np.concatenate(found)


class Pixels:
    """Views of pictures as a tower takes them, each made when it is first asked for, and kept.

    They take 12 KB each at 64 pixels, some 500 MB for every view of 44,000 pictures.

    Args:
        pictures: n of them.
        views: how many of each, the whole among them.
        preprocessing: of the tower.
        seed: of all squares.
    """

    def __init__(
        self, pictures: Sequence[Picture], views: int, preprocessing: Preprocessing, seed: int
    ) -> None:
        self._pictures, self._preprocessing, self._seed = pictures, preprocessing, seed
        size = preprocessing.image_size
        self._views = np.zeros((views, len(pictures), 3, size, size), np.uint8)
        self._made = np.zeros((views, len(pictures)), bool)

    def __call__(self, views: Ints, rows: Ints) -> Floats:
        """Return the views (b) of the pictures (b), normalised (b, 3, S, S)."""
        for view, row in zip(views, rows, strict=True):
            if not self._made[view, row]:
                image = seen(self._pictures[row], view, self._seed)
                self._views[view, row] = self._preprocessing.view(image)
                self._made[view, row] = True
        return self._preprocessing.normalised(self._views[views, rows])
