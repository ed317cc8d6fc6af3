"""Making a plan: draw the shots, look at every image once, draw the regions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.data.dataset import UNKNOWN, Dataset, Item
from fdbpl.data.images import UnreadableImage, read_image
from fdbpl.data.picks import Picks
from fdbpl.data.splits import draw_order, hold_out_unlabelled
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.protocols.protocol import Labels, Protocol, Shots
from fdbpl.regions.boxes import REGION, CropPolicy, draw_regions
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import IMAGE, TEST, TRAIN, Plan
from fdbpl.system.errors import UserError
from fdbpl.system.progress import Report, silent

TABLE = "table of picks instead of a draw"


def make_plan(
    dataset: Dataset,
    *,
    regions: RegionParams,
    shots: Shots,
    seeds: list[int],
    protocols: Sequence[Protocol] = (BASE_TO_NEW,),
    given: Picks | None = None,
    vocabulary: tuple[str, ...] = (),
    allow_unreadable_test_images: bool = False,
    look: bool = True,
    report: Report = silent,
) -> Plan:
    """Plan what protocols need of a dataset: shots to learn from, test images of all classes.

    `protocols` learn on it; with none there are test images alone, so that neither shots nor
    regions nor seeds change the plan. Shots are drawn of every class that any of them learns,
    from each class by itself: what one protocol learns from, no other changes.

    Where any training image has no class, no label is read: all classes are learned from `shots`
    images for each name, drawn from all images. Without a test image some of them are held out,
    to compare student and teacher on.

    With a `vocabulary` its names are learned from, and no class name; the classes still say from
    which images.

    An unreadable training image is left out, named in the notes and replaced by the next in the
    drawing order; with picks `given` instead of a draw, none replaces it. `report` follows the
    test images looked at.

    Without `look` no image is opened, all are taken for readable and no regions are drawn: enough
    to count what a plan would ask for.

    Raises:
        UserError: a test image is unreadable (unless allowed), no training image is readable, a
            label space that is tested has no test image, or a protocol needs classes of images
            that have none; or the picks given lack a seed or a class, or have more images of a
            class than `shots`.
    """
    learns, is_labelled = bool(protocols), _is_labelled(dataset.train)
    names = tuple(range(len(dataset.class_names)))
    labels = _labels(dataset, protocols)
    classes = [one.classes(labels, names) for one in protocols] if is_labelled else []
    learned = tuple(sorted({label for one in classes for label in one.learned}))
    drawn, count = learned, shots
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
            f"dataset {dataset.name!r}: no training image of {len(labels)} classes is readable "
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
        spaces = {name: part for one in classes for name, part in one.tested.items()}
        _require_tests(dataset, test, spaces)
    images = np.concatenate([_records(train, TRAIN, reader), _records(test, TEST, reader)])
    row_of = {item: row for row, item in enumerate(train)}
    ranked = {
        seed: sorted((row_of[item], rank) for item, rank in _ranks(chosen))
        for seed, chosen in picks.items()
    }
    return Plan(
        name=dataset.name,
        class_names=dataset.class_names,
        template=dataset.template,
        labels=labels,
        paths=tuple(item.path for item in [*train, *test]),
        images=images,
        shots={seed: tuple(row for row, _ in ranks) for seed, ranks in ranked.items()},
        ranks={seed: tuple(rank for _, rank in ranks) for seed, ranks in ranked.items()},
        regions=_draw_all(images[: len(train) if look else 0], regions),
        policy=policy_of(regions) if learns else {},
        notes={
            "unreadable training images": unreadable,
            "unreadable test images": missing,
            "classes short of images": _shortages(dataset, learned, shots, picks),
            "classes without training images, which nothing is learned of": [
                name
                for label, name in enumerate(dataset.class_names)
                if learns and label not in labels
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


def _labels(dataset: Dataset, protocols: Sequence[Protocol]) -> Labels:
    """Return the labels that have training images; none where no protocol learns from any."""
    if not protocols:
        return ()
    if not _is_labelled(dataset.train):
        needing = [one.name for one in protocols if one.needs_labels]
        if len(needing) == len(protocols) or any(one.learns_on_source for one in protocols):
            raise UserError(
                f"dataset {dataset.name!r} has training images without a class, and "
                f"{' and '.join(needing)} learns from classes. List all-classes under protocols, "
                "or name another source."
            )
        return tuple(range(len(dataset.class_names)))
    labels = tuple(sorted({item.label for item in dataset.train}))
    if len(labels) < 2:
        raise UserError(
            f"dataset {dataset.name!r}: {len(labels)} classes with training images in "
            f"{dataset.folder}, wanted at least 2. If it has test images alone, list it under "
            "shifted."
        )
    return labels


def _require_tests(dataset: Dataset, test: list[Item], spaces: Mapping[str, Labels]) -> None:
    """Raise UserError when classes that are tested have no test image, or there is none at all."""
    for name, labels in spaces.items():
        if not any(item.label in labels for item in test):
            raise UserError(
                f"dataset {dataset.name!r}: no test image of the {len(labels)} {name} classes in "
                f"{dataset.folder}, wanted at least 1."
            )
    if not test:
        raise UserError(
            f"dataset {dataset.name!r}: no test image in {dataset.folder}, wanted at least 1."
        )


def _ranks(chosen: list[Item]) -> Iterator[tuple[Item, int]]:
    """Yield each of a seed's images with its place in the draw from its class."""
    counts: dict[int, int] = {}
    for item in chosen:
        rank = counts[item.label] = counts.get(item.label, -1) + 1
        yield item, rank


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
