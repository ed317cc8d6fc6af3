"""What a benchmark run shows in Prefect's interface: a table, the comparison, a link to MLflow."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from fdbpl.evaluation.accuracy import over_seeds
from fdbpl.methods.registry import title_of
from fdbpl.system.workspace import Workspace


def publish(
    datasets: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    failures: Mapping[str, str],
    *,
    compared: bool,
) -> None:
    """Create the run's artifacts; only what this run finished is shown."""
    work = Workspace(Path())
    rows = [_row(dataset, methods, seeds, failures, work) for dataset in datasets]
    create_table_artifact(
        rows, key="benchmark", description="H of base and new accuracy, mean of seeds, per cent"
    )
    for dataset, words in failures.items():
        create_markdown_artifact(
            f"# {dataset} failed\n\n```\n{words}\n```", key=f"failed-{_key(dataset)}"
        )
    if compared:
        create_markdown_artifact(
            work.comparison("md").read_text(encoding="utf-8"),
            key="comparison",
            description="All datasets of params.yaml, all methods, all seeds",
        )
    address = os.environ.get("FDBPL_MLFLOW") or os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith("http"):
        create_link_artifact(address, link_text="Runs in MLflow", key="mlflow")


def _row(
    dataset: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    failures: Mapping[str, str],
    work: Workspace,
) -> dict[str, Any]:
    if dataset in failures:
        return {
            "dataset": dataset,
            "state": "failed",
            **{title_of(method): "" for method in methods},
        }
    found = json.loads(work.metrics(dataset).read_text(encoding="utf-8"))["methods"]
    row: dict[str, Any] = {"dataset": dataset, "state": "done"}
    for method in methods:
        cells = {str(seed): found[method]["seeds"][str(seed)] for seed in seeds if method in found}
        has_halves = all("h" in cell for cell in cells.values())
        h = over_seeds(cells)["h"] if cells and has_halves else None
        row[title_of(method)] = "-" if h is None else round(h, 2)
    return row


def _key(dataset: str) -> str:
    """Return the name as Prefect wants keys: lower case, digits and dashes."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in dataset.lower())
