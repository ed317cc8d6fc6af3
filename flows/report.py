"""What a benchmark run shows in Prefect's interface: a table, the comparison, a link to MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from fdbpl.evaluation.accuracy import over_seeds
from fdbpl.methods.registry import title_of
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.summary import read_summary
from fdbpl.stages.tasks import wanted
from fdbpl.system.workspace import Workspace
from flows.servers import State


def publish(
    params: Params,
    datasets: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    failures: Mapping[str, str],
    *,
    compared: bool,
) -> None:
    """Create the run's artifacts; only what this run finished is shown."""
    work = Workspace(Path())
    rows = [_row(params, dataset, methods, seeds, failures, work) for dataset in datasets]
    create_table_artifact(
        rows,
        key="benchmark",
        description="H of base and new, or accuracy over all classes: mean of seeds, per cent",
    )
    for dataset, words in failures.items():
        create_markdown_artifact(
            f"# {dataset} failed\n\n```\n{words}\n```", key=f"failed-{_key(dataset)}"
        )
    if compared:
        read_summary(work.comparison, work.command("compare"))  # refuses a table of another run
        create_markdown_artifact(
            work.comparison("md").read_text(encoding="utf-8"),
            key="comparison",
            description="All datasets of params.yaml, all methods, all seeds",
        )
    servers = State.load()
    if servers and "MLflow" in servers.urls:
        create_link_artifact(servers.urls["MLflow"], link_text="Runs in MLflow", key="mlflow")


def _row(
    params: Params,
    dataset: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    failures: Mapping[str, str],
    work: Workspace,
) -> dict[str, Any]:
    if dataset in failures:
        cells = {title_of(method): "" for method in methods}
        return {"dataset": dataset, "state": "failed", **cells}
    record, shots = read_record(params, dataset, work), params.counts[-1]
    runs = (record.run(protocol.name, shots) for protocol in wanted(params))
    run = next((one for one in runs if one is not None), None)
    row: dict[str, Any] = {"dataset": dataset, "state": "done"}
    for method in methods:
        known = run is not None and method in run.methods
        spelled = _spelled(run.measures(method, list(seeds))) if known and run else "-"
        row[title_of(method)] = spelled
    return row


def _spelled(seeds: Mapping[str, Mapping[str, Any]]) -> float:
    """Return H of the seeds' means, or their mean accuracy."""
    if all("h" in measures for measures in seeds.values()):
        return round(over_seeds(seeds)["h"], 2)
    return round(mean(next(iter(measures.values())) for measures in seeds.values()), 2)


def _key(dataset: str) -> str:
    """Return the name as Prefect wants keys: lower case, digits and dashes."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in dataset.lower())
