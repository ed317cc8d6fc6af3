"""Photographs packed as the studies' tar files are, small ones that tests draw."""

import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of photographs, which lies beside the repository on some machines only."""
    if not PHOTOS.is_dir():
        pytest.skip(f"no photographs at {PHOTOS}")
    return PHOTOS


def drawn(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """Return a picture of smooth random colours, decided by `seed`."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int = 76) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def pack(tar: Path, members: Mapping[str, bytes]) -> None:
    """Write a tar file of members by path, in the order given."""
    write_tar(tar, ((tarfile.TarInfo(name), data) for name, data in members.items()))


def write_tar(tar: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(tar, "w") as packed:
        for info, data in members:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))


def pack_dataset(folder: Path, dataset: str, classes: Iterable[str], **counts: int) -> None:
    """Write the names and parts of a dataset: `counts` drawn pictures of each class by part."""
    names = {one: one.replace("_", " ") for one in classes}
    (folder / f"{dataset}.names.json").write_text(json.dumps(names))
    for part, count in counts.items():
        paths = [f"{dataset}/{part}/{one}/{i:04}.jpg" for one in names for i in range(count)]
        pack(
            folder / f"{dataset}.{part}.tar",
            {path: jpeg(drawn(zlib.crc32(path.encode()))) for path in paths},
        )
