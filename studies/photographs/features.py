"""Features of the photographs before any projection, by the packaged image towers, once."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdbpl.classify.decision import unit
from fdbpl.clip import small
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.shapes import random_model
from fdbpl.system.files import write_whole
from studies.photographs.parts import DATASETS, Picture, decode, read_part

BATCH = 32
CHUNK = 2048
"""Pictures of a file: what an interruption loses is less than a minute's work."""

Floats = NDArray[np.float32]


def tower_of(model: str) -> str:
    """Return timm's name of a small model's image tower."""
    tower: str = small.config(model)["vision_cfg"]["timm_model_name"]
    return tower


def encoder(model: str) -> ImageEncoder:
    """Return the image tower of a small model as it runs, without its projection."""
    clip = random_model(model, seed=0)
    clip.network.load_state_dict(small.image_trunk(tower_of(model)), strict=False)
    mean, std = small.PREPROCESSING["mean"], small.PREPROCESSING["std"]
    return ImageEncoder(
        replace(clip, mean=mean, std=std),
        precision="fp32",
        batch_size=BATCH,
        before_projection=True,
    )


def features(
    photos: Path,
    part: str,
    model: str,
    out: Path,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Floats]:
    """Return the unit features (n, E) of a part's pictures by dataset, in the part's order.

    Args:
        photos: where the tar files lie.
        part: of `studies.photographs.parts.PARTS`.
        model: of `small.PAIR`.
        out: holds what was encoded before, and what is encoded now, in fp16.
        say: told of every dataset that was encoded.
    """
    found, tower = dict[str, Floats](), None
    for dataset in DATASETS:
        folder = out / model / f"{dataset}-{part}"
        if not folder.is_dir():
            tower = tower or encoder(model)
            encode(tower, list(read_part(photos, dataset, part)), folder)
            say(f"{dataset}: {part} encoded by the tower of {model}")
        found[dataset] = stored(folder)
    return found


def stored(folder: Path) -> Floats:
    """Return the unit features (n, E) that `encode` wrote to a folder."""
    chunks = [np.load(path).astype(np.float32) for path in sorted(folder.glob("*.npy"))]
    return unit(np.concatenate(chunks))


def encode(tower: ImageEncoder, pictures: Sequence[Picture], folder: Path) -> None:
    """Write features chunk after chunk beside `folder`, going on where it ended; then rename."""
    aside = folder.with_name(f"{folder.name}.part")
    aside.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(pictures), CHUNK):
        path = aside / f"{start:08}.npy"
        if not path.exists():
            rows = io.BytesIO()
            np.save(rows, encoded(tower, pictures[start : start + CHUNK]))
            write_whole(path, rows.getvalue())
    aside.rename(folder)


def encoded(tower: ImageEncoder, pictures: Sequence[Picture]) -> NDArray[np.float16]:
    """Return the unit features (n, E) of pictures, batch after batch."""
    parts = (pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH))
    encoded = [
        tower.encode(np.stack([tower.pixels(decode(one), None) for one in part])) for part in parts
    ]
    return np.concatenate(encoded).astype(np.float16)
