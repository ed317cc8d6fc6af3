"""Looking at every image of a dataset once: is it there, does it decode, what is its content."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fdbpl.benchmarks.dataset import Dataset
from fdbpl.images import UnreadableImage, read_image
from fdbpl.system.progress import Report, silent

AT_ONCE = 256
"""Images handed to the threads at a time, so that a million of them do not queue up."""


@dataclass(frozen=True)
class Look:
    """What was seen, by path: content hashes of whole images, and what is wrong with the rest."""

    hashes: Mapping[str, bytes]
    missing: tuple[str, ...]
    unreadable: Mapping[str, str]


def look_at(dataset: Dataset, report: Report = silent) -> Look:
    """Open and decode every image of the dataset, several at once.

    `report` follows the images looked at. Paths stand in sorted order, whatever thread was first.
    """
    paths = sorted({item.path for item in (*dataset.train, *dataset.val, *dataset.test)})
    seen: dict[str, bytes | str | None] = {}
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), AT_ONCE):
            some = paths[start : start + AT_ONCE]
            for path, one in zip(
                some, pool.map(lambda path: _look(dataset.folder, path), some), strict=True
            ):
                seen[path] = one
                report(len(seen), len(paths))
    return Look(
        hashes={path: one for path, one in seen.items() if isinstance(one, bytes)},
        missing=tuple(path for path, one in seen.items() if one is None),
        unreadable={path: one for path, one in seen.items() if isinstance(one, str)},
    )


def _look(folder: Path, path: str) -> bytes | str | None:
    """Return the content hash; or why the image cannot be read; or None when it is not there."""
    if not os.path.lexists(folder / path):
        return None
    try:
        return read_image(folder / path)[0]
    except UnreadableImage as error:
        return str(error).removeprefix(f"{folder / path}: ")
