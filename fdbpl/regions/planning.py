"""Making a plan: draw the shots, look at every image once, draw the regions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fdbpl.data.dataset import UNKNOWN, Dataset, Item
from fdbpl.data.images import UnreadableImage, read_image
from fdbpl.data.picks import Picks
from fdbpl.data.splits import base_and_new, draw_order, hold_out_unlabelled
from fdbpl.regions.boxes import REGION, CropPolicy, draw_regions
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import IMAGE, TEST, TRAIN, Plan
from fdbpl.system.errors import UserError
from fdbpl.system.progress import Report, silent
from fdbpl.system.workspace import Split

Shots = int | Literal["all"]

TABLE = "table of picks instead of a draw"


def make_plan(
    dataset: Dataset,
    *,
    regions: RegionParams,
    shots: Shots,
    seeds: list[int],
    split: Split = "halves",
    given: Picks | None = None,
    vocabulary: tuple[str, ...] = (),
    allow_unreadable_test_images: bool = False,
    look: bool = True,
    report: Report = silent,
) -> Plan:
    """Plan what a protocol needs of a dataset: shots to learn from, test images of all classes.

    `split` "halves" is for base-to-new: shots of the base classes, the rest are new. "all" is for
    the source of a transfer: all classes are base, none is new. "test-only" is for its targets:
    test images alone, so that neither shots nor regions nor seeds change the plan.

    Where any training image has no class, there are no halves and no label is read: all classes
    are learned from `shots` images for each name, drawn from all images. Without a test image
    some of them are held out, to compare student and teacher on.

    With a `vocabulary` its names are learned from, and no class name; the base classes still say
    from which images.

    An unreadable training image is left out, named in the notes and replaced by the next in the
    drawing order; with picks `given` instead of a draw, none replaces it. `report` follows the
    test images looked at.

    Without `look` no image is opened, all are taken for readable and no regions are drawn: enough
    to count what a plan would ask for.

    Raises:
        UserError: a test image is unreadable (unless allowed), no training image is readable, or
            base classes, new classes or, with neither, the dataset have no test image; or the
            picks given lack a seed or a class, or have more images of a class than `shots`.
    """
    learns = split != "test-only"
    is_labelled = _is_labelled(dataset.train)
    base, new = _classes(dataset, split)
    drawn, count = base, shots
    if learns and not is_labelled:
        if given is not None:
            raise UserError(
                f"data.picks.{dataset.name}: picks are of classes, and this dataset has training "
                "images without one. Leave the table out."
            )
        dataset, drawn = _without_labels(dataset), (UNKNOWN,)
        count = shots if shots == "all" else shots * len(vocabulary or dataset.class_names)
    reader = _Reader(dataset.folder, look)
    picks = {
        seed: list(_pick(dataset, drawn, count, seed, given, reader))
        for seed in (seeds if learns else ())
    }
    train = sorted({item for chosen in picks.values() for item in chosen}, key=_by_label)
    unreadable = sorted(reader.unreadable.values())
    if learns and not train:
        raise UserError(
            f"dataset {dataset.name!r}: no training image of {len(base)} base classes is readable "
            f"in {dataset.folder}, the first: {unreadable[0]}."
        )
    test = list(_readable(sorted(dataset.test, key=_by_label), reader, report))
    missing = _unreadable(dataset.test, reader)
    if missing and not allow_unreadable_test_images and _is_labelled(dataset.test):
        raise UserError(
            f"{len(missing)} test images of {dataset.name!r} in {dataset.folder} are unreadable, "
            f"the first: {missing[0]}. Or set data.allow_unreadable_test_images: true to leave "
            "them out of the test."
        )
    if is_labelled or not learns:
        _require_tests(dataset, test, base, new)
    images = np.concatenate([_records(train, TRAIN, reader), _records(test, TEST, reader)])
    row_of = {item: row for row, item in enumerate(train)}
    return Plan(
        name=dataset.name,
        class_names=dataset.class_names,
        template=dataset.template,
        base=base,
        new=new,
        paths=tuple(item.path for item in [*train, *test]),
        images=images,
        shots={
            seed: tuple(sorted(row_of[item] for item in chosen)) for seed, chosen in picks.items()
        },
        regions=_draw_all(images[: len(train) if look else 0], regions),
        policy=policy_of(regions) if learns else {},
        notes={
            "unreadable training images": unreadable,
            "unreadable test images": missing,
            "classes short of images": _shortages(dataset, base, shots, picks)
            if is_labelled
            else [],
            "classes without training images, neither base nor new": [
                name
                for label, name in enumerate(dataset.class_names)
                if learns and label not in {*base, *new}
            ],
            **({TABLE: [f"seeds {', '.join(map(str, seeds))}"]} if given and learns else {}),
        },
        vocabulary=vocabulary if learns else (),
    )


def _is_labelled(items: tuple[Item, ...]) -> bool:
    return all(item.label != UNKNOWN for item in items)


def _without_labels(dataset: Dataset) -> Dataset:
    """Return the dataset as one whose training images nobody has labelled."""
    train = tuple(Item(item.path, UNKNOWN) for item in dataset.train)
    if dataset.test:
        return replace(dataset, train=train)
    train, held_out = hold_out_unlabelled(train)
    return replace(dataset, train=train, test=held_out)


def _classes(dataset: Dataset, split: Split) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the labels learned from, and those held back as new."""
    if split == "test-only":
        return (), ()
    if not _is_labelled(dataset.train):
        if split == "all":
            raise UserError(
                f"dataset {dataset.name!r} has training images without a class, and cannot be the "
                "source of a transfer. Name another transfer.source, or set transfer: null."
            )
        return tuple(range(len(dataset.class_names))), ()
    base, new = base_and_new(dataset.train)
    if not new:
        raise UserError(
            f"dataset {dataset.name!r}: {len(base)} classes with training images in "
            f"{dataset.folder}, wanted at least 2."
        )
    return (base, new) if split == "halves" else (base + new, ())


def _require_tests(
    dataset: Dataset, test: list[Item], base: tuple[int, ...], new: tuple[int, ...]
) -> None:
    """Raise UserError when a part that has classes has no test image, or there is none at all."""
    for half, labels in (("base", base), ("new", new)):
        if labels and not any(item.label in labels for item in test):
            raise UserError(
                f"dataset {dataset.name!r}: no test image of the {len(labels)} {half} classes in "
                f"{dataset.folder}, wanted at least 1."
            )
    if not test:
        raise UserError(
            f"dataset {dataset.name!r}: no test image in {dataset.folder}, wanted at least 1."
        )


def _draw_all(images: NDArray[np.void], regions: RegionParams) -> NDArray[np.void]:
    law, count = law_of(regions), regions.per_image
    drawn = np.empty((len(images), count), REGION)
    for row, image in enumerate(images):
        size = int(image["width"]), int(image["height"])
        drawn[row] = draw_regions(regions.seed, row, image["hash"].tobytes(), *size, count, law)
    return drawn.ravel()


class _Reader:
    """Looks at each image once: does it decode, how large is it, what is its content hash."""

    def __init__(self, folder: Path, look: bool = True):
        self._folder, self._look = folder, look
        self._known: dict[str, tuple[bytes, int, int]] = {}
        self.unreadable: dict[str, str] = {}

    def read(self, path: str) -> tuple[bytes, int, int] | None:
        if path in self._known:
            return self._known[path]
        if path in self.unreadable:
            return None
        if not self._look:
            return self._known.setdefault(path, (bytes(16), 0, 0))
        try:
            digest, image = read_image(self._folder / path)
        except UnreadableImage as error:  # without the folder: a plan holds no machine's path
            self.unreadable[path] = str(error).replace(f"{self._folder}/", "")
            return None
        self._known[path] = (digest, image.width, image.height)
        return self._known[path]

    def known(self, path: str) -> tuple[bytes, int, int]:
        return self._known[path]


def _readable(items: list[Item], reader: _Reader, report: Report) -> Iterator[Item]:
    for done, item in enumerate(items, start=1):
        if reader.read(item.path) is not None:
            yield item
        report(done, len(items))


def _unreadable(items: Iterable[Item], reader: _Reader) -> list[str]:
    """Say what is wrong with each image that was looked at and did not decode."""
    paths = {item.path for item in items}
    return sorted(why for path, why in reader.unreadable.items() if path in paths)


def _records(items: list[Item], split: int, reader: _Reader) -> NDArray[np.void]:
    records = np.zeros(len(items), IMAGE)
    for record, item in zip(records, items, strict=True):
        digest, record["width"], record["height"] = reader.known(item.path)
        record["hash"] = np.frombuffer(digest, np.uint8)
        record["label"], record["split"] = item.label, split
    return records


def _by_label(item: Item) -> tuple[int, str]:
    return item.label, item.path


def _pick(
    dataset: Dataset,
    labels: tuple[int, ...],
    shots: Shots,
    seed: int,
    given: Picks | None,
    reader: _Reader,
) -> Iterator[Item]:
    """Yield each label's first readable images in the drawing order, as many as `shots`."""
    if given is None:
        order = draw_order(dataset.train, seed)
    else:
        order = _order_given(dataset, labels, shots, seed, given)
    for label in labels:
        count = 0
        for item in order[label]:
            if count == shots:
                break
            if reader.read(item.path) is not None:
                count += 1
                yield item


def _order_given(
    dataset: Dataset, labels: tuple[int, ...], shots: Shots, seed: int, given: Picks
) -> dict[int, list[Item]]:
    """Return the picks given for a seed, by label; raise UserError when they do not fit."""
    table = f"data.picks.{dataset.name}"
    if seed not in given:
        raise UserError(
            f"{table}: the table has no seed {seed}, but {', '.join(map(str, given))}. "
            "Set seeds to these, or add rows."
        )
    order = draw_order(tuple(given[seed]), seed)
    for label in labels:
        count, name = len(order.get(label, ())), dataset.class_names[label]
        if not count:
            raise UserError(f"{table}: the table has no image of {name!r} for seed {seed}.")
        if shots != "all" and count > shots:
            raise UserError(
                f"{table}: the table has {count} images of {name!r} for seed {seed}, wanted at "
                f"most shots, which is {shots}. Set shots to {count}."
            )
    return order


def choose_shots(
    dataset: Dataset, *, shots: Shots, seeds: list[int], given: Picks | None = None
) -> dict[int, list[Item]]:
    """Return the shots of each seed and of every class, as plans have them.

    Raises:
        UserError: the dataset has no training images, or some without a class, or the picks given
            do not fit.
    """
    labels = tuple(sorted({item.label for item in dataset.train}))
    if not labels or UNKNOWN in labels:
        lack = "training images without a class" if labels else "no training images"
        raise UserError(f"dataset {dataset.name!r} has {lack}, so no shots of each class.")
    reader = _Reader(dataset.folder)
    return {seed: list(_pick(dataset, labels, shots, seed, given, reader)) for seed in seeds}


def _shortages(
    dataset: Dataset,
    labels: tuple[int, ...],
    shots: Shots,
    picks: Mapping[int, list[Item]],
) -> list[str]:
    """Name the classes with fewer readable images than shots."""
    picked = next(iter(picks.values()), [])
    counts = {label: sum(item.label == label for item in picked) for label in labels}
    return [
        f"{dataset.class_names[label]}: {count} of {shots} shots"
        for label, count in counts.items()
        if shots != "all" and count < shots
    ]


def policy_of(regions: RegionParams) -> dict[str, Any]:
    """Return what a plan says of the law that its regions were drawn by."""
    return {"seed": regions.seed, "per_image": regions.per_image, **law_of(regions).fields()}


def law_of(regions: RegionParams) -> CropPolicy:
    """Return the law that regions are drawn by."""
    return CropPolicy(regions.scale, regions.ratio, regions.flip)
