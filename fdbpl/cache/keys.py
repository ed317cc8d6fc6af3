"""Keys: the hash of all that decides a feature, by which the store looks it up."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.system.files import canonical_json, sha256

KEY_BYTES = 16

# All that tells one view of an encoder from another; the digest of the encoder comes before it.
HASHED = np.dtype(
    [
        ("hash", "u1", (16,)),
        ("kind", "u1"),  # 0: the test view; 1: a region
        ("box", "<i4", (4,)),
        ("flip", "u1"),
    ]
)

Keys = NDArray[np.uint8]


def digest_of(fingerprint: Mapping[str, Any], decoder: str, dtype: np.dtype[Any]) -> str:
    """Return the digest, hexadecimal, of all that decides what is kept of a view, but the view.

    fingerprint: of what is made of pixels, as plain values; decoder: of what makes pixels of files;
    dtype: of what is kept.
    """
    made = sha256(canonical_json(dict(fingerprint)))
    return sha256(canonical_json({"decoder": decoder, "dtype": dtype.str, "encoder": made}))


def view_keys(
    digest: str,
    hashes: Keys,
    boxes: NDArray[np.int32] | None = None,
    flips: NDArray[np.uint8] | None = None,
) -> Keys:
    """Return (n, 16) keys: the BLAKE2b-128 of encoder, image, box and flip.

    digest: hexadecimal digest of the encoder and payload; hashes: (n, 16) content hashes; boxes:
    (n, 4) left, top, right, bottom, or None for the whole image's test view; flips: (n,), 0 or 1,
    given with boxes.
    """
    views = np.zeros(len(hashes), HASHED)
    views["hash"] = hashes
    if boxes is not None:
        views["kind"] = 1
        views["box"] = boxes
        views["flip"] = flips
    start = hashlib.blake2b(bytes.fromhex(digest), digest_size=KEY_BYTES, person=b"fdbpl view 1")
    data, size = memoryview(views.tobytes()), HASHED.itemsize
    keys = bytearray()
    for offset in range(0, len(data), size):
        hasher = start.copy()
        hasher.update(data[offset : offset + size])
        keys += hasher.digest()
    return np.frombuffer(bytes(keys), np.uint8).reshape(-1, KEY_BYTES)


def sortable(keys: Keys) -> NDArray[np.bytes_]:
    """Return (n, 16) keys as n fixed-width byte strings, which numpy sorts and searches.

    Two strings of one width are equal exactly when all their bytes are, trailing zeros included.
    """
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").reshape(-1)
