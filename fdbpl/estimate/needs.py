"""What has to be encoded and learned: counted from plans where there are any, else from lists."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fdbpl.benchmarks.dataset import Dataset
from fdbpl.benchmarks.registry import open_dataset
from fdbpl.benchmarks.split import base_and_new, draw_order
from fdbpl.made_with import differing, of_plan
from fdbpl.params import Params
from fdbpl.regions.plan import Plan
from fdbpl.stages.targets import own_targets
from fdbpl.workspace import Split, Workspace


@dataclass(frozen=True)
class Need:
    """One cache, and what is trained on it.

    Attributes:
        dataset: its name.
        protocol: "base-to-new", "source" or "target".
        folder: holds its images.
        names: of the classes learned, none for a target.
        images: training images of one seed.
        regions: of all seeds.
        tests: test images.
        sample: paths of some images, in `folder`.
        plan: where there is one; else the counts take every image for readable.
    """

    dataset: str
    protocol: str
    folder: Path
    names: tuple[str, ...]
    images: int
    regions: int
    tests: int
    sample: tuple[str, ...]
    plan: Plan | None

    @property
    def views(self) -> int:
        """Regions and test images."""
        return self.regions + self.tests


def needs_of(params: Params, work: Workspace) -> list[Need]:
    """Count what every dataset of the parameters needs, and the transfer.

    Raises:
        UserError: a dataset that is not there, or a damaged plan.
    """
    return [_need(params, *entry) for entry in _entries(params, work)]


def _entries(params: Params, work: Workspace) -> Iterator[tuple[str, str, Workspace, Split]]:
    for dataset in params.datasets:
        yield dataset, "base-to-new", work, "halves"
    if params.transfer is not None:
        yield params.transfer.source, "source", work.source, "all"
        for target in own_targets(params, params.transfer):
            yield target, "target", work.targets, "test-only"


def _need(params: Params, dataset: str, protocol: str, work: Workspace, split: Split) -> Need:
    found = open_dataset(dataset, params.data)
    plan = Plan.load(work.plan(dataset)) if work.plan(dataset).is_dir() else None
    if plan is not None and not differing(plan.made_with, of_plan(params, dataset, split)):
        return Need(
            dataset,
            protocol,
            found.folder,
            tuple(plan.class_names[label] for label in plan.base),
            max((len(rows) for rows in plan.shots.values()), default=0),
            len(plan.regions),
            len(plan.test),
            plan.paths[:SAMPLE],
            plan,
        )
    labels = _learned(found, split)
    picks = [_picked(found, labels, params.shots, seed) for seed in params.seeds]
    return Need(
        dataset,
        protocol,
        found.folder,
        tuple(found.class_names[label] for label in labels),
        max(map(len, picks)),
        len(set().union(*picks)) * params.regions.per_image,
        len(found.test),
        tuple(item.path for item in (*found.train, *found.test)[:SAMPLE]),
        None,
    )


SAMPLE = 8


def _learned(dataset: Dataset, split: Split) -> tuple[int, ...]:
    if split == "test-only":
        return ()
    base, new = base_and_new(dataset.train)
    return base if split == "halves" else base + new


def _picked(dataset: Dataset, labels: tuple[int, ...], shots: int | str, seed: int) -> set[str]:
    """Return the images that a seed learns from, if all are readable."""
    if not labels:
        return set()
    order = draw_order(dataset.train, seed)
    count = None if isinstance(shots, str) else shots
    return {item.path for label in labels for item in order[label][:count]}
