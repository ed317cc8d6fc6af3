"""Stage 5: the tables of all protocols, and one picture over all datasets."""

import io
import json
from collections.abc import Iterable
from functools import partial
from typing import Any

from fdbpl.reporting import tables as reporting
from fdbpl.reporting import unlabelled_report
from fdbpl.reporting.published_tables import backbone_of, published_tables, unlike_published
from fdbpl.reporting.transfer import transfer_tables
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import (
    METHODS_SERVE,
    of_all,
    of_evaluation,
    of_transfer,
    require_made_with,
)
from fdbpl.system.errors import UserError
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.workspace import Workspace


def compare(params: Params, work: Workspace) -> list[str]:
    """Write metrics/compare.json, .md and .png; return the tables to print.

    The transfer's tables are among them once there is one, and published numbers where there are
    some of the same student.

    Raises:
        UserError: a dataset of the list or the transfer has not been evaluated, or with other
            parameters.
    """
    records = {name: _record(params, name, work) for name in params.datasets}
    halved = {name: one for name, one in records.items() if one["protocol"] == "base-to-new"}
    others = {name: one for name, one in records.items() if name not in halved}
    left_out = {method for record in halved.values() for method in record["left_out"]}
    methods = [method for method in params.methods if method not in left_out]
    comparison: dict[str, Any] = {"methods": {}}
    tables, picture = [], io.BytesIO()
    if halved:
        comparison = reporting.compare(halved, methods, params.seeds)
        tables += _tables(comparison, list(halved), params)
        reporting.plot(comparison, _evidence(halved, params) or list(halved), picture)
    if others:
        summary = unlabelled_report.summarise(others, params.methods, params.seeds)
        comparison["unlabelled"] = summary
        tables += unlabelled_report.tables(summary)
        if not halved:
            unlabelled_report.plot(summary, picture)
    transfer = _transfer_record(params, work)
    if transfer is not None:
        tables.append(transfer_tables(transfer, params.methods))
    if halved:
        tables += _published(params, halved, comparison, transfer)
    text = "\n\n".join(tables) + "\n"
    comparison["made_with"] = of_all(params)
    write_whole(work.comparison("json"), readable_json(comparison))
    write_whole(work.comparison("md"), text.encode())
    write_whole(work.comparison("png"), picture.getvalue())
    return [text, f"Written: {work.comparison('json')}, .md, .png"]


def _evidence(datasets: Iterable[str], params: Params) -> list[str]:
    """Return the datasets on which no choice was made."""
    return [name for name in datasets if name not in params.development]


def _tables(comparison: dict[str, Any], datasets: list[str], params: Params) -> list[str]:
    """Return the averages, those of development datasets apart, then every dataset's H."""
    evidence = _evidence(datasets, params)
    developed = [name for name in datasets if name not in evidence]
    tables = []
    for names, note in ((evidence, ""), (developed, "; choices were made on these, no evidence")):
        if names:
            count, seeds = len(names), len(params.seeds)
            tables += [
                f"Averages over {count} dataset{'s' * (count > 1)} ({', '.join(names)}) and "
                f"{seeds} seed{'s' * (seeds > 1)}, per cent{note}:",
                reporting.averages_table(comparison, names),
            ]
    return [
        *tables,
        reporting.JOINT,
        reporting.datasets_table(comparison),
        reporting.joint_table(comparison),
    ]


def _published(
    params: Params,
    records: dict[str, dict[str, Any]],
    comparison: dict[str, Any],
    transfer: dict[str, Any] | None,
) -> list[str]:
    backbone = backbone_of([*records.values(), *([transfer] if transfer else [])])
    if backbone is None:
        return []
    unlike = [n for n in unlike_published(records, transfer) if n not in params.data.own]
    shots = "all images" if params.shots == "all" else f"{params.shots} shots"
    tables = published_tables(
        comparison,
        transfer,
        backbone,
        without=[*params.data.own, *unlike],
        protocol=f"{shots}, {len(params.seeds)} seeds",
    )
    if unlike:
        tables.append(
            f"No published numbers beside {', '.join(unlike)}: not as many test images here as "
            "published; fdbpl data check says more."
        )
    return tables


def _transfer_record(params: Params, work: Workspace) -> dict[str, Any] | None:
    """Read the transfer's accuracies; None where it is not wanted, not done, or of no method."""
    path, command = work.transferred, partial(work.command, "transfer")
    if params.transfer is None or not path.is_file():
        return None
    wanted = of_transfer(params, params.transfer)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        require_made_with(path, record["made_with"], wanted, command, METHODS_SERVE)
        transfer_tables(record, params.methods)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}). Run {command()} again."
        ) from None
    return record if record["methods"] else None


def _record(params: Params, dataset: str, work: Workspace) -> dict[str, Any]:
    """Read a dataset's accuracies, sure that they are those that the parameters ask for."""
    path, command = work.metrics(dataset), partial(work.command, "evaluate", dataset)
    wanted = of_evaluation(params, dataset)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        require_made_with(path, record["made_with"], wanted, command)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Run {command()} first, or take the dataset off the list in "
            "params.yaml."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}). Run {command()} again."
        ) from None
    return record
