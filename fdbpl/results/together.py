"""Several worlds as one: each dataset was drawn anew in each, so its runs are runs of one kind."""

from collections.abc import Mapping, Sequence
from functools import reduce
from statistics import mean
from typing import Any

from fdbpl.errors import UserError
from fdbpl.evaluation.accuracy import over_seeds
from fdbpl.results.world import World

Record = Mapping[str, Any]


def together(worlds: Sequence[World]) -> World:
    """Return the worlds' records as one, whose seeds are each world's: "second-world, 1".

    It holds what all of them hold: methods, datasets, targets, and of transfer and rejection
    neither where one lacks it. Means are taken anew, over the runs of all.

    Raises:
        UserError: two worlds of one title, or transfers that are not of one kind.
    """
    titles = [world.title for world in worlds]
    for title in titles:
        if titles.count(title) > 1:
            raise UserError(f"--also {title} stands twice, wanted every world once.")
    return World(
        "all worlds",
        _comparison(worlds),
        _transfer(worlds) if all(world.transfer for world in worlds) else None,
        _rejection(worlds) if all(world.rejection for world in worlds) else None,
    )


def _comparison(worlds: Sequence[World]) -> Record:
    records = [world.comparison["methods"] for world in worlds]
    methods = {}
    for method in _common(records):
        cells = [record[method]["datasets"] for record in records]
        datasets = {}
        for dataset in _common(cells):
            seeds = _seeds(worlds, [one[dataset]["seeds"] for one in cells])
            datasets[dataset] = {**over_seeds(seeds), "seeds": seeds}
        methods[method] = {"datasets": datasets}
    return {"methods": methods}


def _transfer(worlds: Sequence[World]) -> Record:
    records = [world.transfer or {} for world in worlds]
    for world, record in zip(worlds, records, strict=True):
        _require_one_kind(worlds[0].title, records[0], world.title, record)
    by_method = [record["methods"] for record in records]
    targets = _common([record["targets"] for record in records])
    return {
        "source": records[0]["source"],
        "targets": {name: records[0]["targets"][name] for name in targets},
        "methods": {
            method: {"seeds": _seeds(worlds, [one[method]["seeds"] for one in by_method])}
            for method in _common(by_method)
        },
    }


def _require_one_kind(title: str, wanted: Record, other: str, found: Record) -> None:
    """Refuse to average what differs: transfers from other sources, or of other kinds."""
    if found["source"] != wanted["source"]:
        raise UserError(
            f"{other}: transfers from {found['source']}, wanted {wanted['source']} as in {title}. "
            "Leave that world out, or run its transfer again."
        )
    for name in _common([wanted["targets"], found["targets"]]):
        is_now, was = found["targets"][name]["kind"], wanted["targets"][name]["kind"]
        if is_now != was:
            raise UserError(
                f"{other}: {name} is {is_now}, wanted {was} as in {title}. Leave that world out, "
                "or run its transfer again."
            )


def _rejection(worlds: Sequence[World]) -> Record:
    records = [(world.rejection or {})["methods"] for world in worlds]
    methods = {}
    for method in _common(records):
        scores = [record[method]["scores"] for record in records]
        methods[method] = {
            "ece": _runs(worlds, [record[method]["ece"] for record in records], "ece"),
            "scores": {
                score: {
                    kind: _runs(worlds, [one[score][kind] for one in scores], "auroc")
                    for kind in _common([one[score] for one in scores])
                }
                for score in _common(scores)
            },
        }
    return {"methods": methods}


def _runs(worlds: Sequence[World], measured: Sequence[Record], measure: str) -> Record:
    """Join one measure's datasets, each with its mean over all runs."""
    cells = [one["datasets"] for one in measured]
    datasets = {}
    for dataset in _common(cells):
        seeds = _seeds(worlds, [one[dataset]["seeds"] for one in cells])
        datasets[dataset] = {measure: mean(run[measure] for run in seeds.values()), "seeds": seeds}
    return {"datasets": datasets}


def _seeds(worlds: Sequence[World], seeds: Sequence[Record]) -> dict[str, Any]:
    return {
        f"{world.title}, {seed}": run
        for world, runs in zip(worlds, seeds, strict=True)
        for seed, run in runs.items()
    }


def _common(records: Sequence[Record]) -> list[str]:
    """Return the keys that all have, in the order of the first."""
    kept = reduce(set.intersection, (set(record) for record in records))
    return [key for key in records[0] if key in kept]
