"""A world: what one workspace's records measured, by measure, method and dataset."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from statistics import fmean
from typing import Any

from fdbpl.evaluation.statistics import Interval, linearised_h, t_interval
from fdbpl.reporting.ood_report import KIND_TITLES
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import (
    METHODS_SERVE,
    in_any_world,
    of_all,
    of_transfer,
    require_made_with,
)
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace

Found = Iterator[tuple[str, str, str, float]]
"""Measure, method, dataset and value: the mean over seeds."""


@dataclass(frozen=True)
class World:
    """What was measured, in per cent.

    Attributes:
        title: what the page calls it.
        source: the dataset that transfer learned on, where there was one.
        measures: values by measure, method and dataset. Measures are base, new, joint base, joint
            new, cross-dataset, shifted, and of OOD detection "score, kind" and "score, ECE".
    """

    title: str
    source: str | None
    measures: Mapping[str, Mapping[str, Mapping[str, float]]]

    def methods(self, measure: str = "base") -> list[str]:
        """Return the methods of a measure."""
        return list(self.measures.get(measure, {}))

    def datasets(self, measure: str = "base") -> list[str]:
        """Return the datasets of a measure, which all its methods share."""
        return list(next(iter(self.measures.get(measure, {}).values()), {}))

    def values(self, measure: str, method: str) -> Mapping[str, float]:
        """Return a measure by dataset. "H" and "joint H" are linearised: see `linearised_h`."""
        if not measure.endswith("H"):
            return self.measures.get(measure, {}).get(method, {})
        base, new = (self.values(measure[:-1] + half, method) for half in ("base", "new"))
        return dict(zip(base, linearised_h([*base.values()], [*new.values()]), strict=True))

    def mean(self, measure: str, method: str) -> float | None:
        """Return the mean over datasets, of "H" and "joint H" the H of averages; None of none."""
        values = self.values(measure, method).values()
        return fmean(values) if values else None

    def difference(self, ours: tuple[str, str], theirs: tuple[str, str]) -> Interval | None:
        """Return how much higher one measure and method is; None where either is not known."""
        our, their = self.values(*ours), self.values(*theirs)
        return t_interval([our[name] - their[name] for name in our]) if our and their else None

    def only(self, wanted: Callable[[str], bool]) -> "World":
        """Return it with some datasets alone, and what nothing is left of dropped."""
        kept: dict[str, dict[str, Mapping[str, float]]] = defaultdict(dict)
        for measure, methods in self.measures.items():
            for method, values in methods.items():
                if some := {name: value for name, value in values.items() if wanted(name)}:
                    kept[measure][method] = some
        return replace(self, measures=kept)


def together(worlds: Sequence[World]) -> World:
    """Return what all worlds measured: of each method and dataset the mean over the worlds.

    Raises:
        UserError: transfers from several sources.
    """
    if len(sources := {world.source for world in worlds if world.source}) > 1:
        raise UserError(f"--also: transfers from {', '.join(sorted(sources))}, wanted one source.")

    def joined(measured: Sequence[Any]) -> Any:
        if not isinstance(measured[0], Mapping):
            return fmean(measured)
        shared = reduce(set.intersection, map(set, measured))
        return {key: joined([one[key] for one in measured]) for key in measured[0] if key in shared}

    return replace(worlds[0], measures=joined([world.measures for world in worlds]))


def read_world(work: Workspace, title: str, params: Params, *, of_ours: bool = True) -> World:
    """Read a workspace's records of base to new, of transfer and of OOD detection.

    Args:
        work: where they lie.
        title: what the page calls it.
        params: that they have to be made with.
        of_ours: whether they are of these parameters' own world; else data, datasets, methods and
            seeds may be others.

    Raises:
        UserError: nothing was compared there, or a record is damaged or of other parameters.
    """
    measures: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    source, of_datasets = None, of_all(params)
    of_targets = of_transfer(params, params.transfer) if params.transfer else None
    for stage, path, wanted, pick in (
        ("compare", work.comparison("json"), of_datasets, _compared),
        ("transfer", work.transferred, of_targets, _transferred),
        ("ood", work.ood("json"), of_datasets, _of_ood),
    ):
        command = partial(work.command, stage)
        if wanted is not None and path.exists():
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                found = record["made_with"]
                shared = wanted if of_ours else in_any_world(wanted, found)
                require_made_with(path, found, shared, command, METHODS_SERVE)
                for measure, method, dataset, value in pick(record["methods"], record):
                    measures[measure][method][dataset] = float(value)
                source = source or record.get("source")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                why = f"damaged or old ({type(error).__name__})"
                raise UserError(f"{path}: {why}. Run {command()} again.") from None
        if not measures:
            raise UserError(f"{path}: nothing was compared. Run {command()} first.")
    return World(title, source, measures)


def _compared(methods: Any, _: Any) -> Found:
    for method, result in methods.items():
        for dataset, cell in result["datasets"].items():
            for half in ("base", "new"):
                yield half, method, dataset, cell[half]
                yield f"joint {half}", method, dataset, cell["joint"][half]


def _transferred(methods: Any, record: Any) -> Found:
    for method, result in methods.items():
        for target, about in record["targets"].items():
            yield about["kind"], method, target, result["targets"][target]["mean"]


def _of_ood(methods: Any, _: Any) -> Found:
    for method, result in methods.items():
        for score, kinds in result["scores"].items():
            name = score.replace("_", " ")
            for kind, about in kinds.items():
                for dataset, cell in about["datasets"].items():
                    yield f"{name}, {KIND_TITLES[kind]}", method, dataset, cell["auroc"]
            for dataset, cell in result["ece"]["datasets"].items():
                yield f"{name}, ECE", method, dataset, cell["ece"]
