"""The records of the stages as the studies read them: nothing else here opens a metrics file."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.reporting.ood_report import KIND_TITLES, SCORE_TITLES
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.learned import open_history
from fdbpl.stages.made_with import METHODS_SERVE, of_all, require_made_with
from fdbpl.stages.planned import load_planned
from fdbpl.stages.summary import Place, read_summary
from fdbpl.stages.tasks import task_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from studies.measures import Measures

Cell = tuple[str, str, str, float]
"""Measure, method, dataset and value: the mean over seeds."""

PHOTOGRAPHS_COMMAND = "python -m studies.photographs"
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
    task = task_of(params, load_planned(params, dataset, work), BASE_TO_NEW, shots)
    for method in methods:
        seeds: dict[str, dict[str, Any]] = {}
        for seed, measured in run.measures(method, params.seeds).items():
            history = open_history(task, work, method, int(seed))
            accuracies = {name: measured[name] for name in ACCURACIES if name in measured}
            seeds[seed] = {**accuracies, **{name: history[name] for name in TRAINING}}
        found[method] = seeds
    return found


def read_measures(work: Workspace, params: Params) -> Measures:
    """Read a workspace's records of base to new, of transfer and of OOD detection.

    Raises:
        UserError: nothing was compared there, or a record is damaged or of other parameters.
    """
    found: list[Cell] = []
    source = None
    for stage, pick in (("compare", _compared), ("ood", _of_ood)):
        place, command = _written(stage, work)
        path, record = place("json"), read_over_all(stage, work, params)
        if record is not None:
            with _readable(path, command()):
                found += pick(record)
                source = source or _source(record)
        if not found:
            raise UserError(f"{path}: nothing was compared. Run {command()} first.")
    return _measures(source, found)


def read_over_all(stage: str, work: Workspace, params: Params) -> Any:
    """Return what "compare" or "ood" left in a workspace; None where it left nothing.

    Raises:
        UserError: it is damaged or of other parameters.
    """
    place, command = _written(stage, work)
    path = place("json")
    if not path.exists():
        return None
    record = read_summary(place, command())
    with _readable(path, command()):
        require_made_with(path, record["made_with"], of_all(params), command, METHODS_SERVE)
    return record


def read_photographs(path: Path) -> list[Measures]:
    """Read docs/photographs.json: the evidence with its OOD detection, then the second transfer.

    Raises:
        UserError: it is damaged, or of another fdbpl.
    """
    with _readable(path, PHOTOGRAPHS_COMMAND):
        record = json.loads(path.read_text(encoding="utf-8"))
        found = [evidence_measures(record)]
        if "caltech" in record:
            found.append(compared_measures(record["caltech"]))
    return found


def evidence_measures(records: Mapping[str, Any]) -> Measures:
    """Return what the records of photographs have of the evidence, OOD detection with it."""
    record, detected = records["evidence"], records.get("ood", {"methods": {}})
    return _measures(_source(record), [*_compared(record), *_of_ood(detected)])


def few_shot_measures(comparison: Any) -> Measures:
    """Return the accuracies over all classes by shots, of a record that has some."""
    return _measures(None, _of_shots(comparison))


def compared_measures(record: Any) -> Measures:
    """Return what a comparison's record has of base to new and of transfer."""
    return _measures(_source(record), _compared(record))


def transductive_measures(methods: Any) -> Measures:
    """Return the accuracies of what a record has of the transductive protocol."""
    return compared_measures({"methods": methods})


def _written(stage: str, work: Workspace) -> tuple[Place, Callable[..., str]]:
    """Return the files of a stage over all datasets, and what returns its command."""
    return {"compare": work.comparison, "ood": work.ood}[stage], partial(work.command, stage)


@contextmanager
def _readable(path: Path, command: str) -> Iterator[None]:
    """Say of a record that is not as it should be how to make it again."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"damaged or old ({type(error).__name__})"
        raise UserError(f"{path}: {why}. Run {command} again.") from None


def _source(record: Any) -> str | None:
    """Return the dataset that a transfer learned on."""
    found: str | None = record.get("transfer", {}).get("source")
    return found


def _measures(source: str | None, found: Iterable[Cell]) -> Measures:
    values: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for measure, method, dataset, value in found:
        values[measure][method][dataset] = value
    return Measures(source, values)


def _compared(record: Any) -> Iterator[Cell]:
    for method, result in record["methods"].items():
        for dataset, cell in result["datasets"].items():
            for half in ("base", "new"):
                yield half, method, dataset, float(cell[half])
                yield f"joint {half}", method, dataset, float(cell["joint"][half])
    transfer = record.get("transfer", {"methods": {}})
    for method, result in transfer["methods"].items():
        yield "source", method, transfer["source"], float(result["avg"]["source"])
        for target, about in transfer["targets"].items():
            yield about["kind"], method, target, float(result["targets"][target]["mean"])


def _of_shots(record: Any) -> Iterator[Cell]:
    summary = record["all_classes"]
    for method, result in summary["methods"].items():
        for dataset, by_shots in result["datasets"].items():
            if summary["datasets"][dataset]["kind"] == "accuracy":
                for shots, cell in by_shots.items():
                    yield (
                        f"{shots} shot{'s' * (shots != '1')}",
                        method,
                        dataset,
                        float(cell["mean"]),
                    )


def _of_ood(record: Any) -> Iterator[Cell]:
    for method, result in record["methods"].items():
        for score, kinds in result["scores"].items():
            name = SCORE_TITLES[score]
            for kind, about in kinds.items():
                for dataset, cell in about["datasets"].items():
                    yield f"{name}, {KIND_TITLES[kind]}", method, dataset, float(cell["auroc"])
            for dataset, cell in result["ece"]["datasets"].items():
                yield f"{name}, ECE", method, dataset, float(cell["ece"])
