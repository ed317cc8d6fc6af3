"""Stage 5: the tables of all protocols, and one picture over all datasets."""

import io
from collections.abc import Mapping
from typing import Any

from fdbpl.evaluation.record import DatasetRecord, runs_of
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.reporting.protocols import sections
from fdbpl.reporting.published_tables import backbone_of, published_tables, unlike_published
from fdbpl.reporting.section import Section, plot
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.made_with import of_all
from fdbpl.stages.summary import write_summary
from fdbpl.stages.tasks import wanted
from fdbpl.system.workspace import Workspace


def compare(params: Params, work: Workspace) -> list[str]:
    """Write metrics/compare.json, .md and .png; return the tables to print.

    Published numbers stand beside where there are some of the same student.

    Raises:
        UserError: a dataset of the list has not been evaluated, or with other parameters.
    """
    found, comparison, published = compared(params, work)
    tables = [table for one in found for table in one.tables]
    text = "\n\n".join(tables + published) + "\n"
    picture = io.BytesIO()
    plot(found, picture)
    comparison["made_with"] = of_all(params)
    work.before_writing()
    write_summary(work.comparison, comparison, text, picture.getvalue())
    return [text, f"Written: {work.comparison('json')}, .md, .png"]


def compared(params: Params, work: Workspace) -> tuple[list[Section], dict[str, Any], list[str]]:
    """Return the sections of all protocols, what compare.json holds, and the published tables.

    Raises:
        UserError: as `compare` does.
    """
    records = {name: read_record(params, name, work) for name in params.datasets}
    found = sections(params, wanted(params), records)
    comparison: dict[str, Any] = {"methods": {}, **{one.key: one.value for one in found}}
    return found, comparison, _published(params, records, comparison)


def _published(
    params: Params, records: Mapping[str, DatasetRecord], comparison: dict[str, Any]
) -> list[str]:
    backbone = backbone_of([record.student for record in records.values()])
    if backbone is None:
        return []
    halved = runs_of(records, BASE_TO_NEW.name, params.counts[-1])
    unlike = [n for n in unlike_published(halved, comparison) if n not in params.data.own]
    shots = "all images" if params.counts[-1] == "all" else f"{params.counts[-1]} shots"
    tables = published_tables(
        comparison,
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
