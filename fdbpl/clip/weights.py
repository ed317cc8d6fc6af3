"""Where weights and other files come from, said without loading them or naming their place."""

import hashlib
from functools import lru_cache
from pathlib import Path

from fdbpl.clip.packaged import PACKAGED
from fdbpl.clip.params import ModelParams

A_FILE = "file "


def weights_source(params: ModelParams) -> str:
    """Return what a model's weights come from.

    That is the name of packaged ones, "tag NAME" for a pretrained tag, or "file SHA256" for a local
    file.
    """
    if params.weights in PACKAGED:
        return params.weights
    return file_source(params.weights) or f"tag {params.weights}"


def file_source(name: str) -> str | None:
    """Return "file SHA256" for a local file; None where there is none of this name."""
    path = Path(name)
    if not path.is_file():
        return None
    about = path.stat()
    return A_FILE + _digest(path.resolve(), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _modified: int) -> str:
    """Return the SHA-256 of a file, which may be of gigabytes, once while it stays as it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def about_model(params: ModelParams) -> dict[str, str]:
    """Return what records say of a model: its architecture, and where its weights come from."""
    return {"architecture": params.architecture, "weights": weights_source(params)}
