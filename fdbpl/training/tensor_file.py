"""Tensors and what is known of them in one file, which tells by itself whether it is whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fdbpl.clip.model import state_digest
from fdbpl.system.files import canonical_json, sha256, write_whole


def write_tensors(
    path: Path, key: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Write tensors by name, in their order, and plain values under a key, whole or not at all."""
    kept = {name: one.detach().cpu().clone() for name, one in tensors.items()}
    told = {"order": list(kept), **about}
    told["digest"] = _digest(key, kept, told)
    write_whole(path, save(kept, metadata={"about": json.dumps(told)}))


def read_tensors(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what `write_tensors` wrote; None of another key, a damaged file, or none."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in about["order"]}
        is_whole = about.pop("digest") == _digest(key, tensors, about)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return (tensors, about) if is_whole else None


def _digest(key: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    return sha256(canonical_json([key, dict(about), state_digest(tensors)]))
