"""The fifteen layouts of the field as they lie on disk, drawn small."""

import json
import os
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_image

from fdbpl.data.readers import aircraft, coop, imagenet

NAMES = (*coop.LAYOUTS, *aircraft.LAYOUTS, *imagenet.LAYOUTS)

WNIDS = {
    "n01440764": "tench",
    "n01518878": "ostrich",
    "n02012849": "crane bird",
    "n03126707": "construction crane",
    "n03773504": "missile",
    "n04008634": "missile",
}
PRESENT = {  # the shifted versions that hold some classes only
    "imagenet-adversarial": ("n01518878", "n03773504", "n04008634"),
    "imagenet-rendition": ("n01440764", "n02012849", "n04008634"),
}
VARIANTS = ("707-320", "F-16A/B", "Hawk T1", "Saab 340", "Spitfire")
CLASSES = ("apple_pie", "baby_back_ribs", "cup_cakes", "waffles", "zebra_toast")
COUNTS = {"train": 4, "val": 1, "test": 2}


@dataclass(frozen=True)
class Drawn:
    """What a reader must find: class names by label, and the images of each class in each split."""

    class_names: tuple[str, ...]
    images: dict[str, dict[int, int]]


def draw_layout(name: str, root: Path) -> Drawn:
    """Draw a dataset called as in the field below `root`, a few images a class."""
    if name in coop.LAYOUTS:
        return _split_file(coop.LAYOUTS[name], root / name)
    if name in imagenet.LAYOUTS:
        return _class_folders(name, root / name)
    return _aircraft(root / name)


def _image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    png = path.with_suffix(".png")  # the suffix says JPEG, as the field's lists do
    draw_image(png, zlib.crc32("/".join(path.parts[-4:]).encode()), (6, 4))
    png.rename(path)


def _split_file(layout: coop.SplitFile, folder: Path) -> Drawn:
    rows: dict[str, list[tuple[str, int, str]]] = {}
    for part, count in COUNTS.items():
        rows[part] = [
            (f"{class_name}/{part} {index:04}.jpg", label, class_name)
            for index in range(count)
            for label, class_name in enumerate(CLASSES)
        ]
        for path, _, _ in rows[part]:
            _image(folder / layout.images / path)
    (folder / layout.lists).write_text(json.dumps(rows))
    names = tuple(class_name.replace("_", " ") for class_name in CLASSES)
    return Drawn(names, {part: dict.fromkeys(range(5), count) for part, count in COUNTS.items()})


def _class_folders(name: str, folder: Path) -> Drawn:
    layout = imagenet.LAYOUTS[name]
    folder.mkdir(parents=True)
    lines = [f"{wnid} {class_name}\n" for wnid, class_name in WNIDS.items()]
    (folder / "classnames.txt").write_text("".join(lines))
    wnids = PRESENT.get(name, tuple(WNIDS))
    images: dict[str, dict[int, int]] = {"train": {}, "val": {}, "test": {}}
    for part, below in (("train", layout.train), ("test", layout.test)):
        for label, wnid in enumerate(wnids if below else ()):
            called = str(label) if layout.numbered else wnid
            for index in range(COUNTS[part]):
                _image(folder / str(below) / called / f"{wnid}_{part}_{index}.JPEG")
            images[part][label] = COUNTS[part]
    if name in PRESENT:  # as the authors ship it, among the class folders
        (folder / layout.test / "README.txt").write_text("about the classes\n")
    return Drawn(tuple(WNIDS[wnid] for wnid in wnids), images)


def _aircraft(folder: Path) -> Drawn:
    folder.mkdir(parents=True)
    (folder / "variants.txt").write_text("".join(f"{variant}\n" for variant in VARIANTS))
    number = 34309
    for part, count in COUNTS.items():
        lines = []
        for variant in VARIANTS * count:
            number += 1
            lines.append(f"{number:07} {variant}\n")
            _image(folder / "images" / f"{number:07}.jpg")
        (folder / f"images_variant_{part}.txt").write_text("".join(lines))
    return Drawn(VARIANTS, {part: dict.fromkeys(range(5), n) for part, n in COUNTS.items()})


@contextmanager
def shuffled_listing(monkeypatch: pytest.MonkeyPatch, seed: int) -> Iterator[None]:
    """Let the file system list every folder in another order."""
    plain, rng = os.scandir, random.Random(seed)

    class Scan(Iterator[os.DirEntry[str]]):
        def __init__(self, path: Any):
            with plain(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
            rng.shuffle(listed)
            self._entries = iter(listed)

        def __next__(self) -> os.DirEntry[str]:
            return next(self._entries)

        def __enter__(self) -> "Scan":
            return self

        def __exit__(self, *_: object) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", Scan)
        yield
