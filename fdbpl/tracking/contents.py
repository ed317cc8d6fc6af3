"""How records look as runs: names, tags, metrics and files that a person finds their way in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdbpl.methods.registry import title_of
from fdbpl.tracking.records import SeedRecord, SummaryRecord

NAMES = {"base": "base_acc", "new": "new_acc", "source": "source_acc", "average": "avg_acc"}
"""Measures by the names that runs give them; others keep theirs."""


@dataclass(frozen=True)
class Content:
    """A run before it is one.

    Attributes:
        key: of the record.
        metrics: values by step; a single value has no curve.
        files: artifacts by folder.
        dataset: the record of the dataset to name as input.
    """

    key: str
    name: str
    tags: Mapping[str, str]
    metrics: Mapping[str, list[float]]
    params: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    dataset: SeedRecord | None = None


def of_seed(one: SeedRecord) -> Content:
    """Lay out the run of one dataset, method and seed: its accuracies and its terms' curves.

    A transfer's run has the accuracies on its targets as `acc/<target>`.
    Dataset, method and seed are parameters too: MLflow's compare page draws those that differ.
    """
    setting = "" if one.setting == "base-to-new" else f" {one.setting}"
    shots = one.params.get("shots")
    if one.setting == "all-classes" and shots is not None:
        setting += f" {shots} shots"
    named = {"dataset": one.dataset, "method": one.method, "seed": str(one.seed)}
    return Content(
        key=one.key,
        name=f"{one.dataset}{setting} {one.method} seed {one.seed}",
        tags={
            "kind": "seed",
            "setting": one.setting,
            **named,
            **({"shots": str(shots)} if shots is not None else {}),
            **({"inactive_terms": ", ".join(one.inactive)} if one.inactive else {}),
            **{f"digest.{name}": digest for name, digest in one.digests.items()},
        },
        metrics={
            **{NAMES.get(name, name): [value] for name, value in one.accuracies.items()},
            **{f"loss/{name}": values for name, values in one.terms.items()},
        },
        params={**named, **one.params},
        files={"prompts": tuple(one.files.values())},
        dataset=one,
    )


def of_summary(one: SummaryRecord) -> Content:
    """Lay out the run of one method over all datasets: a metric a dataset, and the averages.

    MLflow charts group metrics by what stands before the slash.
    """
    metrics = {f"avg/{NAMES.get(name, name)}": [value] for name, value in one.average.items()}
    for dataset, cell in one.datasets.items():
        metrics |= {f"{NAMES.get(name, name)}/{dataset}": [value] for name, value in cell.items()}
    return Content(
        key=one.key,
        name=f"{title_of(one.method)} · {len(one.datasets)} datasets",
        tags={
            "kind": "summary",
            "dataset": "all",
            "method": one.method,
            "setting": one.setting,
            "seed": "all",
            "digest.comparison": one.comparison,
        },
        metrics=metrics,
        files={"comparison": one.files},
    )
