"""The records of the stages as the studies read them: nothing else here opens a metrics file."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.reporting.ood_report import KIND_TITLES, SCORE_TITLES
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.made_with import METHODS_SERVE, of_all, require_made_with
from fdbpl.stages.tasks import folder_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies.measures import Measures

ACCURACIES = ("base", "new", "joint")
TRAINING = ("gradients", "inactive")

Seeds = Mapping[str, Mapping[str, Any]]
"""By seed: base and new in per cent, "joint" the same where all classes compete, the "gradients" of
each term on each context by epoch, and the "inactive" terms."""


def read_trainings(
    params: Params, work: Workspace, dataset: str, methods: Sequence[str]
) -> dict[str, Seeds]:
    """Return what trained methods reached on a dataset that was just evaluated, by method."""
    shots, found = params.counts[-1], dict[str, Seeds]()
    run = read_record(params, dataset, work).run(BASE_TO_NEW.name, shots)
    if run is None:
        return found
    for method in methods:
        seeds: dict[str, dict[str, Any]] = {}
        for seed, measured in run.measures(method, params.seeds).items():
            folder = folder_of(params, BASE_TO_NEW, shots)
            path = work.learned(dataset, folder, method, int(seed), "history")
            history = json.loads(path.read_text(encoding="utf-8"))
            accuracies = {name: measured[name] for name in ACCURACIES if name in measured}
            seeds[seed] = {**accuracies, **{name: history[name] for name in TRAINING}}
        found[method] = seeds
    return found


def read_measures(work: Workspace, params: Params) -> Measures:
    """Read a workspace's records of base to new, of transfer and of OOD detection.

    Raises:
        UserError: nothing was compared there, or a record is damaged or of other parameters.
    """
    values: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    source, wanted = None, of_all(params)
    for stage, path, pick in (
        ("compare", work.comparison("json"), _compared),
        ("ood", work.ood("json"), _of_ood),
    ):
        command = partial(work.command, stage)
        if path.exists():
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                require_made_with(path, record["made_with"], wanted, command, METHODS_SERVE)
                for measure, method, dataset, value in pick(record):
                    values[measure][method][dataset] = float(value)
                source = source or record.get("transfer", {}).get("source")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                why = f"damaged or old ({type(error).__name__})"
                raise UserError(f"{path}: {why}. Run {command()} again.") from None
        if not values:
            raise UserError(f"{path}: nothing was compared. Run {command()} first.")
    return Measures(source, values)


Found = Iterator[tuple[str, str, str, float]]
"""Measure, method, dataset and value: the mean over seeds."""


def _compared(record: Any) -> Found:
    for method, result in record["methods"].items():
        for dataset, cell in result["datasets"].items():
            for half in ("base", "new"):
                yield half, method, dataset, cell[half]
                yield f"joint {half}", method, dataset, cell["joint"][half]
    transfer = record.get("transfer", {"methods": {}})
    for method, result in transfer["methods"].items():
        for target, about in transfer["targets"].items():
            yield about["kind"], method, target, result["targets"][target]["mean"]


def _of_ood(record: Any) -> Found:
    for method, result in record["methods"].items():
        for score, kinds in result["scores"].items():
            name = SCORE_TITLES[score]
            for kind, about in kinds.items():
                for dataset, cell in about["datasets"].items():
                    yield f"{name}, {KIND_TITLES[kind]}", method, dataset, cell["auroc"]
            for dataset, cell in result["ece"]["datasets"].items():
                yield f"{name}, ECE", method, dataset, cell["ece"]
