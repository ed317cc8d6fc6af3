"""What there is of a dataset, what is missing, and what is wrong with it."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fdbpl.data import published
from fdbpl.data.dataset import UNKNOWN, Dataset
from fdbpl.data.images import UnreadableImage, read_image
from fdbpl.data.published import Counts
from fdbpl.data.splits import base_and_new
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


SHOTS = 16
"""Training images that a class needs for the 16 shots of the field's protocol."""

SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """One kind of fault and every case of it, each named."""

    title: str
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """The report on one dataset.

    `found` are its counts, `wanted` the published ones of the same kinds (empty for a dataset that
    nobody published), `others` the files beside the images, by suffix.
    """

    name: str
    folder: Path
    found: Counts
    wanted: Counts
    problems: tuple[Problem, ...]
    others: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def lines(self) -> list[str]:
        """Return the report as text: counts, then each problem with its first cases."""
        width = max(len(kind) for kind in self.found)
        heads = ("found", "published") if self.wanted else ("found",)
        lines = [f"{self.name}: {self.folder}", f"  {'':{width}}" + "".join(map(_cell, heads))]
        for kind, count in self.found.items():
            cells = [f"{count:,}"]
            if self.wanted:
                cells.append(f"{self.wanted[kind]:,}" if kind in self.wanted else "-")
            lines.append(f"  {kind:{width}}" + "".join(map(_cell, cells)))
        if self.others:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in self.others.items())
            lines.append(f"files that are no images: {kinds}")
        for problem in self.problems:
            more = len(problem.cases) - SHOWN
            lines.append(f"{problem.title}: {len(problem.cases):,}")
            lines += [f"  {case}" for case in problem.cases[:SHOWN]]
            lines += [f"  and {more:,} more"] if more > 0 else []
        return [*lines, "no problem found" if self.is_sound else "problems found"]


def _cell(text: str) -> str:
    return f"{text:>12}"


def check(
    dataset: Dataset, look: Look, wanted: Counts, others: Mapping[str, int] | None = None
) -> Check:
    """Judge a dataset by its file lists and by what was seen of its images."""
    found = count(dataset)
    problems = (
        Problem("counts other than published", tuple(_differing(found, wanted))),
        Problem("images missing", look.missing),
        Problem(
            "images that do not decode", tuple(f"{p}: {why}" for p, why in look.unreadable.items())
        ),
        Problem("test images that are training images too", tuple(_in_both(dataset, look))),
        Problem(f"classes with fewer than {SHOTS} training images", tuple(_few(dataset, look))),
        Problem("classes without a test image", tuple(_untested(dataset, look))),
    )
    return Check(
        name=dataset.name,
        folder=dataset.folder,
        found=found,
        wanted=wanted,
        problems=tuple(problem for problem in problems if problem.cases),
        others=others or {},
    )


def count(dataset: Dataset) -> dict[str, int]:
    """Count classes and images by the kinds that `published` names, and what it does not."""
    unlabelled = sum(item.label == UNKNOWN for item in dataset.train)
    counts = {
        published.CLASSES: len(dataset.class_names),
        published.TRAIN: len(dataset.train),
        "training images without class": unlabelled,
        "validation images": len(dataset.val),
        published.TEST: len(dataset.test),
    }
    if dataset.train and not unlabelled:
        base, new = base_and_new(dataset.train)
        counts[published.BASE], counts[published.NEW] = len(base), len(new)
        for kind, half in ((published.TEST_BASE, set(base)), (published.TEST_NEW, set(new))):
            counts[kind] = sum(item.label in half for item in dataset.test)
    return {kind: counts[kind] for kind in _KINDS if counts.get(kind, 0) or kind in _ALWAYS}


_ALWAYS = (published.CLASSES, published.TRAIN, published.TEST)
_KINDS = (
    published.CLASSES,
    published.BASE,
    published.NEW,
    published.TRAIN,
    "training images without class",
    "validation images",
    published.TEST,
    published.TEST_BASE,
    published.TEST_NEW,
)


def _differing(found: Counts, wanted: Counts) -> Iterator[str]:
    for kind, number in wanted.items():
        if found.get(kind, 0) != number:
            yield f"{kind}: {found.get(kind, 0):,}, published {number:,}"


def _in_both(dataset: Dataset, look: Look) -> Iterator[str]:
    """Name each test image whose content is a training image's, and one such training image."""
    first: dict[bytes, str] = {}
    for item in dataset.train:
        if item.path in look.hashes:
            first.setdefault(look.hashes[item.path], item.path)
    for item in dataset.test:
        twin = first.get(look.hashes.get(item.path, b""))
        if twin is not None:
            yield f"{item.path} is {twin}"


def _few(dataset: Dataset, look: Look) -> Iterator[str]:
    counts = Counter(item.label for item in dataset.train if item.path in look.hashes)
    if any(item.label != UNKNOWN for item in dataset.train):
        for label, name in enumerate(dataset.class_names):
            if counts[label] < SHOTS:
                yield f"{name}: {counts[label]}"


def _untested(dataset: Dataset, look: Look) -> Iterator[str]:
    tested = {item.label for item in dataset.test if item.path in look.hashes}
    # without classes in training, test images are held out of it where there are none
    if dataset.test or any(item.label != UNKNOWN for item in dataset.train):
        for label, name in enumerate(dataset.class_names):
            if label not in tested:
                yield name
