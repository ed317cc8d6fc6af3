"""Files that tell by themselves whether they are as they were written: each holds its own digest.

The digest is of all bytes of the file but itself, so that no flipped, lacking or added byte passes.
"""

import json
from collections.abc import Mapping
from typing import Any

from fdbpl.system.files import readable_json, sha256

DIGEST = "digest"
"""The key of the digest, in JSON and in the metadata of tensors."""

PLACE = sha256(b"Where the digest of a file stands while the digest is taken.")


def sealed(data: bytes) -> bytes:
    """Return `data` with a digest of it where it has PLACE."""
    return data.replace(PLACE.encode(), sha256(data).encode())


def is_sealed(data: bytes, digest: object) -> bool:
    """Tell whether `data` are what `sealed` returned with this digest."""
    return sha256(data.replace(str(digest).encode(), PLACE.encode())) == digest


def sealed_json(value: Mapping[str, Any]) -> bytes:
    """Return a record as JSON for people to read, with its digest."""
    return sealed(readable_json({**value, DIGEST: PLACE}))


def unsealed_json(data: bytes) -> dict[str, Any]:
    """Return the record that `sealed_json` was given.

    Raises:
        ValueError: these are other bytes; the message says how far they could be read.
    """
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("no record")
    if not is_sealed(data, value.pop(DIGEST, None)):
        raise ValueError("its digest is of other content")
    return value
