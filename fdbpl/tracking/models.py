"""Learned classifiers as registered models, and the one rule that moves their alias."""

import tempfile
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import fdbpl
from fdbpl.methods.registry import title_of
from fdbpl.tracking.records import SeedRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

REGISTERED = ("fdbpl",)
"""The methods that become models where nobody asks for others."""

ALIAS = "current"
FOLDER = "model"


def register_models(
    client: "MlflowClient",
    seeds: Iterable[SeedRecord],
    runs: Mapping[str, "Run"],
    methods: Collection[str],
) -> None:
    """Register one model per dataset and wanted method, and point its alias at this recording's.

    The rule of the alias: `current` is the first seed of `params.yaml` in the outputs recorded
    last. Choosing a seed by its accuracy on the test images would choose on them.
    """
    first: dict[str, SeedRecord] = {}
    for one in seeds:
        if one.files and one.method in methods:
            first.setdefault(f"fdbpl-{one.dataset}-{one.method}", one)
    for name, one in first.items():
        run = runs[one.key]
        models = client.search_registered_models(f"name = '{name}'")
        if not models:
            about = (
                f"Prompts that {title_of(one.method)} learned on {one.dataset}, as a classifier."
            )
            client.create_registered_model(name, description=about)
        made = client.search_model_versions(f"name = '{name}' and run_id = '{run.info.run_id}'")
        version = str(made[0].version) if made else _add(client, name, one, run)
        if not models or str(models[0].aliases.get(ALIAS)) != version:
            client.set_registered_model_alias(name, ALIAS, version)


def _add(client: "MlflowClient", name: str, one: SeedRecord, run: "Run") -> str:
    import mlflow.pyfunc

    # recorded, so not shown: warnings of type hints, which MLflow wants to limit what it takes
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True):
        mlflow.pyfunc.save_model(
            f"{folder}/{FOLDER}",
            python_model=str(Path(__file__).with_name("classifier.py")),
            artifacts={"classifier": str(one.files["classifier"])},
            pip_requirements=[f"fdbpl=={fdbpl.__version__}"],
        )
        client.log_artifacts(run.info.run_id, f"{folder}/{FOLDER}", FOLDER)
    tags = {"seed": str(one.seed), "digest.prompts": one.digests["prompts"]}
    made = client.create_model_version(
        name, source=f"{run.info.artifact_uri}/{FOLDER}", run_id=run.info.run_id, tags=tags
    )
    return str(made.version)
