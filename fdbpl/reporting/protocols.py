"""What each protocol shows of what was measured; one that has no report of its own, a table."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any

from fdbpl.evaluation.record import DatasetRecord, Measures, Run, runs_of
from fdbpl.methods.registry import title_of
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.protocols.protocol import Protocol
from fdbpl.protocols.transductive import TRANSDUCTIVE
from fdbpl.protocols.transfer import TRANSFER
from fdbpl.reporting import few_shot, tables
from fdbpl.reporting.section import Section
from fdbpl.reporting.transfer import transfer_record, transfer_tables
from fdbpl.settings.params import Params

Records = Mapping[str, DatasetRecord]


def sections(params: Params, protocols: Iterable[Protocol], records: Records) -> list[Section]:
    """Return the sections of the protocols that any dataset takes part in."""
    found = []
    for protocol in protocols:
        section = REPORTS.get(protocol.name, plain)(params, protocol, records)
        if section is not None:
            found.append(replace(section, tables=[*_doubts(protocol, records), *section.tables]))
    return found


def _doubts(protocol: Protocol, records: Records) -> list[str]:
    """Say which label spaces are of a single class."""
    alone = [
        f"{space} of {name}"
        for name, record in records.items()
        for space in record.single_classes(protocol.name)
    ]
    said = f"{protocol.title}: a single class in {', '.join(alone)}, so that every answer is right"
    return [f"{said} and nothing can be told from it."] if alone else []


def measured(params: Params, runs: Iterable[Run]) -> list[str]:
    """Return the methods that every run has, in the order of the parameters."""
    left_out = {method for run in runs for method in run.left_out}
    return [method for method in params.methods if method not in left_out]


def evidence(datasets: Iterable[str], params: Params) -> list[str]:
    """Return the datasets on which no choice was made."""
    return [name for name in datasets if name not in params.development]


def base_to_new(params: Params, protocol: Protocol, records: Records) -> Section | None:
    """Return base, new and H: averages, those of development datasets apart, then every H.

    A dataset with a single class in a half has no H and no part in averages.
    """
    runs = runs_of(records, protocol.name, params.counts[-1])
    if not runs:
        return None
    comparison = tables.compare(runs, measured(params, runs.values()), params.seeds)
    telling = tables.telling(runs)
    shown = evidence(telling, params)
    developed = [name for name in telling if name not in shown]
    parts = []
    for names, note in ((shown, ""), (developed, "; choices were made on these, no evidence")):
        if names:
            count, seeds = len(names), len(params.seeds)
            parts += [
                f"Averages over {count} dataset{'s' * (count > 1)} ({', '.join(names)}) and "
                f"{seeds} seed{'s' * (seeds > 1)}, per cent{note}:",
                tables.averages_table(comparison, names),
            ]
    parts += [
        tables.JOINT,
        tables.datasets_table(comparison, telling),
        tables.joint_table(comparison),
    ]
    return Section(
        "methods" if protocol is BASE_TO_NEW else protocol.name,
        comparison["methods"],
        parts,
        1.4 + 0.32 * len(comparison["methods"]),
        (lambda figure: tables.plot(comparison, shown or telling, figure)) if telling else None,
    )


def transductive(params: Params, protocol: Protocol, records: Records) -> Section | None:
    """Return what `base_to_new` does, and say what was seen."""
    section = base_to_new(params, protocol, records)
    if section is None:
        return None
    return replace(
        section,
        tables=[SEEN, *(one for one in section.tables if one is not tables.JOINT)],
        draw=section.draw and partial(_titled, protocol.title, section.draw),
    )


SEEN = (
    "Transductive: unlabelled training images of all classes were learned from, those of new "
    "classes too, and all their names. Methods that read labels take no part."
)


def _titled(title: str, draw: Callable[[Any], None], figure: Any) -> None:
    figure.suptitle(title)
    draw(figure)


def all_classes(params: Params, protocol: Protocol, records: Records) -> Section | None:
    """Return accuracies by method, dataset and number of shots."""
    runs = {name: one.protocols.get(protocol.name, {}) for name, one in records.items()}
    chosen = {
        name: {str(n): by_shots[str(n)] for n in protocol.counts(params)}
        for name, by_shots in runs.items()
        if by_shots
    }
    if not chosen:
        return None
    summary = few_shot.summarise(chosen, params.methods, params.seeds)
    return Section(
        "all_classes",
        summary,
        few_shot.tables(summary),
        few_shot.height(summary),
        (lambda figure: few_shot.plot(summary, figure)) if summary["methods"] else None,
    )


def transfer(params: Params, protocol: Protocol, records: Records) -> Section | None:
    """Return accuracies on the source and on all other datasets."""
    runs = runs_of(records, protocol.name, params.counts[-1])
    methods = measured(params, runs.values())
    if params.source not in runs or not methods:
        return None
    plans = {name: records[name].plan for name in runs}
    record = transfer_record(runs, plans, params.source, methods, params.seeds)
    return Section("transfer", record, [transfer_tables(record)])


def plain(params: Params, protocol: Protocol, records: Records) -> Section | None:
    """Return every measure, of each number of shots: averages over datasets, and each dataset."""
    value: dict[str, Any] = {}
    parts = []
    for shots in protocol.counts(params):
        runs = runs_of(records, protocol.name, shots)
        methods = measured(params, runs.values())
        cells = {
            method: {name: _means(run.measures(method, params.seeds)) for name, run in runs.items()}
            for method in methods
        }
        averages = {method: _averages(of.values()) for method, of in cells.items()}
        value[str(shots)] = {m: {"avg": averages[m], "datasets": cells[m]} for m in methods}
        if averages:
            names = list(next(iter(averages.values())))
            rows = [
                (title_of(method), *(tables.number(of.get(name)) for name in names))
                for method, of in averages.items()
            ]
            parts.append(
                f"{protocol.title}, {shots} shots, averages over {', '.join(runs)}, per cent:"
            )
            parts.append(tables.markdown([("method", *names), *rows]))
    return Section(protocol.name, value, parts) if parts else None


def _means(seeds: Mapping[str, Measures]) -> dict[str, float]:
    """Return the means over seeds; nested measures under names of two words."""
    return _averages([_flat(measures) for measures in seeds.values()])


def _averages(cells: Iterable[Mapping[str, float]]) -> dict[str, float]:
    listed = list(cells)
    return {name: mean(cell[name] for cell in listed) for name in listed[0]}


def _flat(measures: Measures) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in measures.items():
        nested = (
            {f"{name} {inner}": one for inner, one in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
        flat |= nested
    return flat


Report = Callable[[Params, Protocol, Records], Section | None]

REPORTS: Mapping[str, Report] = {
    BASE_TO_NEW.name: base_to_new,
    ALL_CLASSES.name: all_classes,
    TRANSDUCTIVE.name: transductive,
    TRANSFER.name: transfer,
}
