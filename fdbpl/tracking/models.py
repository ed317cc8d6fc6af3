"""Learned classifiers as registered models, and the one rule that moves their alias."""

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fdbpl
from fdbpl.methods.registry import title_of
from fdbpl.tracking.records import SeedRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ALIAS = "current"
FOLDER = "model"


def register_models(
    client: "MlflowClient", seeds: tuple[SeedRecord, ...], runs: Mapping[str, "Run"]
) -> None:
    """Register one model per dataset and learned method, and point its alias at this recording's.

    The rule of the alias: `current` is the first seed of `params.yaml` in the outputs recorded
    last. Choosing a seed by its accuracy on the test images would choose on them.
    """
    first: dict[tuple[str, str], SeedRecord] = {}
    for one in seeds:
        if one.files:
            first.setdefault((one.dataset, one.method), one)
    models = {model.name: model for model in _models(client)}
    for (dataset, method), one in first.items():
        name, run = f"fdbpl-{dataset}-{method}", runs[one.key]
        if name not in models:
            about = f"Prompts that {title_of(method)} learned on {dataset}, as a classifier."
            client.create_registered_model(name, description=about)
        pointed = models[name].aliases.get(ALIAS) if name in models else None
        version = _version(client, name, run.info.run_id) or _add(client, name, one, run)
        if str(pointed) != version:
            client.set_registered_model_alias(name, ALIAS, version)


def _models(client: "MlflowClient") -> Iterator[Any]:
    token = None
    while True:
        page = client.search_registered_models("name LIKE 'fdbpl-%'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _version(client: "MlflowClient", name: str, run_id: str) -> str | None:
    """Return the version of a model that a run made, if it made one."""
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return str(found[0].version) if found else None


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
