"""How a cache keeps features: as float32, as float16, or as int8 with a scale for each row."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Payload = Literal["float32", "float16", "int8"]

STORED: Mapping[Payload, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("<f2"),
}
"""The type of the features in the region store that each payload is made from."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "float32": ("feature",),
    "float16": ("feature",),
    "int8": ("feature", "scale"),
}
"""The columns of each payload."""

_STEPS = 127  # of int8 to either side of zero


def row_bytes(payload: Payload, dim: int) -> int:
    """Return the bytes of a feature of width `dim`, before compression."""
    return dim + 4 if payload == "int8" else dim * STORED[payload].itemsize


def encode(features: NDArray[np.floating[Any]], payload: Payload) -> dict[str, NDArray[Any]]:
    """Return the columns that keep features (n, D).

    In int8 a feature is its row's scale times whole steps, the largest of which is 127.
    """
    if payload != "int8":
        return {"feature": features.astype(STORED[payload], copy=False)}
    values = features.astype(np.float32)
    scale = np.abs(values).max(axis=1, initial=0) / np.float32(_STEPS)
    steps = values / np.where(scale > 0, scale, 1)[:, None]
    return {"feature": np.rint(steps).astype(np.int8), "scale": scale}


def decode(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.floating[Any]]:
    """Return the features (n, D) that the columns keep."""
    features = columns["feature"]
    return features * columns["scale"][:, None] if "scale" in columns else features
