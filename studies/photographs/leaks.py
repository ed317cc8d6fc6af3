"""Whether test pictures were trained on: the same bytes, or the same picture in other bytes.

Two pictures count as one where a hash of 64 bits nearly agrees, in itself or mirrored, since
training mirrors pictures too, and their small grey versions do so as well. Neither is enough
alone: many stripes have one hash, and many horizons one small grey version. Both let pass more
than one and the same photograph, another of the same thing from the same place too: what is
counted is rather too much than too little.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from studies.photographs.parts import DATASETS, Picture, decode, read_part

SIDE = 32
"""Of the small grey versions, in pixels."""
BITS = 8
"""Most bits of 64 that differ between hashes of one picture: enlarged, saved anew, cut by a pixel.
Fewer would lose textures, whose low frequencies are weak."""
DIFFERENCE = 0.25
"""Most that two small grey versions of one picture differ by, as a mean over pixels, in standard
deviations of brightness."""
FLAT = 8
"""The least standard deviation taken, in grey levels of 256: below it is the noise of JPEG. So all
pictures of one even colour count as one."""
CHUNK = 256
"""Test pictures compared at once."""


@dataclass(frozen=True)
class Fingerprints:
    """What is compared of N pictures.

    Attributes:
        paths: in their tar files.
        digests: of their bytes, SHA-256.
        small: grey versions of SIDE x SIDE pixels, uint8 (N, SIDE, SIDE).
    """

    paths: tuple[str, ...]
    digests: tuple[str, ...]
    small: NDArray[np.uint8]


@dataclass(frozen=True)
class Leaks:
    """What a dataset's test has in common with pictures that were trained on.

    Attributes:
        exact: how many test pictures stand there byte by byte.
        near: of every other test picture that stands there in other bytes, its path, that of
            the nearest, and the number of bits their hashes differ by.
    """

    exact: int
    near: tuple[tuple[str, str, int], ...]


def leaks(photos: Path, dataset: str, part: str = "pretrain") -> Leaks:
    """Compare the test pictures of a dataset with a part of all datasets.

    Raises:
        UserError: see `read_part` and `decode`.
    """
    return all_leaks(photos, [dataset], part)[dataset]


def all_leaks(
    photos: Path, datasets: Iterable[str] = tuple(DATASETS), part: str = "pretrain"
) -> dict[str, Leaks]:
    """Compare the test pictures of each dataset with a part of all datasets, which is read once.

    Raises:
        UserError: see `read_part` and `decode`.
    """
    trained = fingerprints(one for name in DATASETS for one in read_part(photos, name, part))
    return {
        name: compare(fingerprints(read_part(photos, name, "test")), trained) for name in datasets
    }


def also_tested(photos: Path, part: str = "pretrain") -> list[str]:
    """Return the paths of a part's pictures, of all datasets, that stand among test pictures, too.

    Raises:
        UserError: see `read_part` and `decode`.
    """
    trained, test = (
        fingerprints(one for name in DATASETS for one in read_part(photos, name, of))
        for of in (part, "test")
    )
    known = frozenset(test.digests)
    exact = [path for path, one in zip(trained.paths, trained.digests, strict=True) if one in known]
    return sorted([*exact, *(path for path, _, _ in compare(trained, test).near)])


def fingerprints(pictures: Iterable[Picture]) -> Fingerprints:
    """Return what is compared of pictures.

    Raises:
        UserError: see `decode`.
    """
    paths, digests, small = [], [], []
    for picture in pictures:
        paths.append(picture.path)
        digests.append(hashlib.sha256(picture.data).hexdigest())
        grey = decode(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        small.append(np.asarray(grey))
    stacked = np.array(small, np.uint8).reshape(-1, SIDE, SIDE)  # of no pictures, too
    return Fingerprints(tuple(paths), tuple(digests), stacked)


def compare(test: Fingerprints, trained: Fingerprints) -> Leaks:
    """Return what test pictures have in common with others."""
    known = frozenset(trained.digests)
    is_exact = np.array([digest in known for digest in test.digests], bool)
    near = [
        (test.paths[row], trained.paths[column], bits)
        for row, column, bits in _nearest(test.small, trained.small)
        if not is_exact[row]
    ]
    return Leaks(int(is_exact.sum()), tuple(near))


def hashes(small: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a hash (N,) of grey pictures (N, S, S), which brightness and contrast do not change.

    It says which of the 63 lowest frequencies of a cosine transform, but for the mean, are above
    their median.
    """
    low = dctn(small.astype(np.float32), axes=(1, 2))[:, :8, :8].reshape(-1, 64)
    low[:, 0] = -np.inf  # the mean: a bit that is the same in all
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    packed: NDArray[np.uint64] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return packed


def differences(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how far grey pictures (N, S, S) differ pairwise (N,), in standard deviations.

    Each is brought to one brightness and contrast first.
    """
    result: NDArray[np.float64] = np.abs(_levelled(one) - _levelled(other)).mean(axis=(1, 2))
    return result


def _levelled(small: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = small - small.mean(axis=(1, 2), keepdims=True)
    levelled: NDArray[np.float64] = pixels / np.maximum(
        pixels.std(axis=(1, 2), keepdims=True), FLAT
    )
    return levelled


def _nearest(test: NDArray[np.uint8], trained: NDArray[np.uint8]) -> Iterator[tuple[int, int, int]]:
    """Yield each row of `test` with a duplicate: the row of the nearest, and the differing bits."""
    found: dict[int, tuple[float, int, int]] = {}
    trained_hashes = hashes(trained)
    for seen in (test, test[:, :, ::-1]):
        for row, column, bits in _alike(hashes(seen), trained_hashes):
            difference = float(differences(seen[row : row + 1], trained[column : column + 1])[0])
            if difference <= DIFFERENCE:
                one = (difference, column, bits)
                found[row] = min(found.get(row, one), one)
    for row, (_, column, bits) in sorted(found.items()):
        yield row, column, bits


def _alike(test: NDArray[np.uint64], trained: NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
    """Yield the pairs of rows whose hashes differ by at most BITS, and by how many."""
    for start in range(0, len(test), CHUNK):
        bits = np.bitwise_count(test[start : start + CHUNK, None] ^ trained)
        for row, column in np.argwhere(bits <= BITS):
            yield start + int(row), int(column), int(bits[row, column])
