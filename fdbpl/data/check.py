"""What there is of a dataset, what is missing, and what is wrong with it."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fdbpl.data import published
from fdbpl.data.dataset import UNKNOWN, Dataset
from fdbpl.data.images import UnreadableImage, read_image
from fdbpl.data.published import BASE, NEW, Counts
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


SHOWN = 3


@dataclass(frozen=True)
class Check:
    """The report on one dataset.

    `found` are its counts, `wanted` the published ones of the same kinds (empty for a dataset that
    nobody published), `problems` every case of each kind of fault, `others` the files beside the
    images, by suffix.
    """

    name: str
    folder: Path
    found: Counts
    wanted: Counts
    problems: Mapping[str, tuple[str, ...]]
    others: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def lines(self, shown: int | None = SHOWN) -> list[str]:
        """Return the report as text: counts, then each problem with its first cases, None: all."""
        width = max(len(kind) for kind in self.found)
        heads = ("found", "published") if self.wanted else ("found",)
        rows = [("", *heads)]
        for kind, count in self.found.items():
            published = f"{self.wanted[kind]:,}" if kind in self.wanted else "-"
            rows.append((kind, f"{count:,}", published)[: 1 + len(heads)])
        lines = [f"{self.name}: {self.folder}"]
        for kind, *cells in rows:
            lines.append(f"  {kind:{width}}" + "".join(f"{cell:>12}" for cell in cells))
        if 1 in (self.found.get(BASE), self.found.get(NEW)):
            lines.append("base-to-new: a single class in a half, so nothing can be told from it")
        if self.others:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in self.others.items())
            lines.append(f"files that are no images: {kinds}")
        for title, cases in self.problems.items():
            lines += [f"{title}: {len(cases):,}", *(f"  {case}" for case in cases[:shown])]
            more = len(cases) - len(cases[:shown])
            lines += [f"  and {more:,} more (--all names them)"] if more else []
        return [*lines, "no problem found" if self.is_sound else "problems found"]


def check(
    dataset: Dataset,
    look: Look,
    wanted: Counts,
    others: Mapping[str, int] | None = None,
    *,
    shots: int,
) -> Check:
    """Judge a dataset by its file lists and by what was seen of its images.

    `shots`: training images that a class needs.
    """
    found = count(dataset)
    cases: dict[str, Iterable[str]] = {
        "counts other than published": _differing(found, wanted),
        "images missing": look.missing,
        "images that do not decode": (f"{path}: {why}" for path, why in look.unreadable.items()),
        "test images that are training images too": _in_both(dataset, look),
        f"classes with fewer than {shots} training images": _few(dataset, look, shots),
        "classes without a test image": _untested(dataset, look),
    }
    problems = {title: told for title, every in cases.items() if (told := tuple(every))}
    return Check(dataset.name, dataset.folder, found, wanted, problems, others or {})


def count(dataset: Dataset) -> dict[str, int]:
    """Count classes and images by the kinds that `published` names, and what it does not."""
    unlabelled = sum(item.label == UNKNOWN for item in dataset.train)
    base, new = ((), ()) if unlabelled else base_and_new(dataset.train)
    tested = Counter(item.label for item in dataset.test)
    counts = {
        published.CLASSES: len(dataset.class_names),
        published.BASE: len(base),
        published.NEW: len(new),
        published.TRAIN: len(dataset.train),
        "training images without class": unlabelled,
        "validation images": len(dataset.val),
        published.TEST: len(dataset.test),
        published.TEST_BASE: sum(tested[label] for label in base),
        published.TEST_NEW: sum(tested[label] for label in new),
    }
    always = (published.CLASSES, published.TRAIN, published.TEST)
    return {kind: number for kind, number in counts.items() if number or kind in always}


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


def _few(dataset: Dataset, look: Look, shots: int) -> Iterator[str]:
    counts = Counter(item.label for item in dataset.train if item.path in look.hashes)
    if any(item.label != UNKNOWN for item in dataset.train):
        for label, name in enumerate(dataset.class_names):
            if counts[label] < shots:
                yield f"{name}: {counts[label]}"


def _untested(dataset: Dataset, look: Look) -> Iterator[str]:
    tested = {item.label for item in dataset.test if item.path in look.hashes}
    # without classes in training, test images are held out of it where there are none
    if dataset.test or any(item.label != UNKNOWN for item in dataset.train):
        for label, name in enumerate(dataset.class_names):
            if label not in tested:
                yield name
