"""Learned prompts as registered models, and the one rule that moves their alias."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fdbpl.records import SeedRecord
from fdbpl.reporting import TITLES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ALIAS = "current"


def register_models(
    client: "MlflowClient", seeds: tuple[SeedRecord, ...], runs: Mapping[str, "Run"]
) -> None:
    """Register one model per dataset and learned method, and point its alias at this recording's.

    The rule of the alias: `current` is the first seed of `params.yaml` in the outputs recorded
    last. Choosing a seed by its accuracy on the test images would choose on them.
    """
    from mlflow.exceptions import MlflowException

    known = {model.name: model for model in _models(client)}
    first: dict[tuple[str, str], SeedRecord] = {}
    for one in seeds:
        if one.files:
            first.setdefault((one.dataset, one.method), one)
    for (dataset, method), one in first.items():
        name, run = f"fdbpl-{dataset}-{method}", runs[one.key]
        if name not in known:
            client.create_registered_model(
                name, description=f"Prompts that {TITLES[method]} learned on {dataset}."
            )
        versions = client.search_model_versions(f"name = '{name}'")
        version = next((v.version for v in versions if v.run_id == run.info.run_id), None)
        if version is None:
            made = client.create_model_version(
                name,
                source=f"{run.info.artifact_uri}/prompts",
                run_id=run.info.run_id,
                tags={"seed": str(one.seed), "digest.prompts": one.digests["prompts"]},
            )
            version = made.version
        try:
            pointed = client.get_model_version_by_alias(name, ALIAS).version
        except MlflowException:
            pointed = None
        if str(pointed) != str(version):
            client.set_registered_model_alias(name, ALIAS, str(version))


def _models(client: "MlflowClient") -> Iterator[Any]:
    token = None
    while True:
        page = client.search_registered_models("name LIKE 'fdbpl-%'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return
