"""Everything MLflow: records become runs, and a run is written once however often it is recorded.

A run carries the key of its record as a tag, and another tag, set last, that says it is whole.
Recording looks for the keys first, writes what is missing, and replaces what a kill left half
written; so it restores a deleted database, and adds nothing to a whole one.

Without MLFLOW_TRACKING_URI the runs lie in a SQLite database below `.fdbpl/mlflow`.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdbpl.files import locked
from fdbpl.records import Records, SeedRecord, SummaryRecord
from fdbpl.reporting import TITLES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FOLDER = Path(".fdbpl/mlflow")
EXPERIMENT = "fdbpl"
KEY, COMPLETE, FOLDER_TAG, CURRENT = "fdbpl.key", "fdbpl.complete", "fdbpl.folder", "current"
ALIAS = "current"
METRICS_A_BATCH = 1000
NAMES = {"base": "base_acc", "new": "new_acc", "h": "h", "h_mean": "h_mean"}


@dataclass(frozen=True)
class Counts:
    """What a recording did: runs that were there, written anew, and removed as half written."""

    found: int
    written: int
    removed: int


@dataclass(frozen=True)
class _Content:
    """A run before it is one."""

    key: str
    name: str
    tags: Mapping[str, str]
    metrics: Mapping[str, list[float]]
    params: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    dataset: SeedRecord | None = None


def store_uri(folder: Path = FOLDER) -> str:
    """Return where runs are kept: MLFLOW_TRACKING_URI, else SQLite in `folder`, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute()}/mlflow.db"


def record(records: Records, experiment: str, *, register: bool) -> Counts:
    """Make MLflow hold every one of `records` exactly once, and mark them as current.

    Args:
        records: of one workspace.
        experiment: the workspace's; runs of other experiments are not looked at.
        register: whether to register the learned prompts as models too.
    """
    with locked(FOLDER / "record.lock"):
        client = _client()
        experiment_id = _experiment(client, experiment)
        runs, broken = _whole_and_broken(client, experiment_id)
        for run in broken:
            client.delete_run(run.info.run_id)
        contents = [_of_seed(one) for one in records.seeds]
        contents += [_of_summary(one) for one in records.summaries]
        missing = [one for one in contents if one.key not in runs]
        about = _about_recording()
        for content in missing:
            runs[content.key] = _write(client, experiment_id, content, about)
        _mark_current(client, runs, {one.key for one in contents})
        if register:
            _register(client, records.seeds, runs)
    return Counts(len(contents) - len(missing), len(missing), len(broken))


def _client() -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient  # takes three seconds

    FOLDER.mkdir(parents=True, exist_ok=True)
    return MlflowClient(store_uri())


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        own = not os.environ.get("MLFLOW_TRACKING_URI")
        place = (FOLDER / "artifacts").absolute().as_uri() if own else None
        identifier: str = client.create_experiment(name, artifact_location=place)
        return identifier
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _whole_and_broken(
    client: "MlflowClient", experiment_id: str
) -> tuple[dict[str, "Run"], list["Run"]]:
    """Return the whole runs by key, and those to remove: half written from here, or double."""
    whole: dict[str, Run] = {}
    broken = []
    for run in _search(client, experiment_id):
        tags = run.data.tags
        if COMPLETE in tags and tags[KEY] not in whole:
            whole[tags[KEY]] = run
        elif COMPLETE in tags or tags.get(FOLDER_TAG) == _folder():
            broken.append(run)  # nobody writes it: we hold this folder's lock
    return whole, broken


def _search(client: "MlflowClient", experiment_id: str) -> Iterator["Run"]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{KEY}` LIKE '%'",
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _of_seed(one: SeedRecord) -> _Content:
    title = f"{one.dataset} {one.method} seed {one.seed}"
    return _Content(
        key=one.key,
        name=title,
        tags={
            "kind": "seed",
            "dataset": one.dataset,
            "method": one.method,
            "setting": one.setting,
            "seed": str(one.seed),
            **{f"digest.{name}": digest for name, digest in one.digests.items()},
        },
        metrics={
            **{NAMES[name]: [value] for name, value in one.accuracies.items()},
            **{f"loss/{name}": values for name, values in one.terms.items()},
        },
        params=one.params,
        files={"prompts": tuple(one.files.values())},
        dataset=one,
    )


def _of_summary(one: SummaryRecord) -> _Content:
    return _Content(
        key=one.key,
        name=f"{TITLES[one.method]} · {len(one.datasets)} datasets",
        tags={
            "kind": "summary",
            "dataset": "all",
            "method": one.method,
            "setting": one.setting,
            "seed": "all",
            "digest.comparison": one.comparison,
        },
        metrics={
            **{f"avg/{NAMES[name]}": [value] for name, value in one.average.items()},
            **{
                f"{NAMES[name]}/{dataset}": [value]
                for dataset, cell in one.datasets.items()
                for name, value in cell.items()
            },
        },
        files={"comparison": one.files},
    )


def _write(
    client: "MlflowClient", experiment_id: str, content: _Content, about: Mapping[str, str]
) -> "Run":
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    tags = {KEY: content.key, FOLDER_TAG: _folder(), CURRENT: "yes", **about, **content.tags}
    run = client.create_run(experiment_id, start_time=now, run_name=content.name, tags=tags)
    identifier = run.info.run_id
    metrics = [
        Metric(name, value, now, step if len(values) > 1 else 0)
        for name, values in content.metrics.items()
        for step, value in enumerate(values, start=1)
    ]
    params = [Param(name, str(value)) for name, value in content.params.items()]
    client.log_batch(identifier, metrics=metrics[:METRICS_A_BATCH], params=params)
    for start in range(METRICS_A_BATCH, len(metrics), METRICS_A_BATCH):
        client.log_batch(identifier, metrics=metrics[start : start + METRICS_A_BATCH])
    if content.dataset:
        _log_dataset(client, identifier, content.dataset)
    for folder, files in content.files.items():
        for file in files:
            client.log_artifact(identifier, str(file), folder)
    client.set_terminated(identifier)
    client.set_tag(identifier, COMPLETE, "yes")
    return client.get_run(identifier)


def _log_dataset(client: "MlflowClient", run_id: str, one: SeedRecord) -> None:
    """Name the dataset a run learned from and was tested on; its digest is the plan's, cut."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=one.dataset,
        digest=one.digests["plan"][:32],  # MLflow keeps 36 characters
        source_type="fdbpl",
        source=json.dumps({"plan": one.digests["plan"]}),
        profile=json.dumps(one.counts),
    )
    client.log_inputs(
        run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "few-shot")])]
    )


def _mark_current(client: "MlflowClient", runs: Mapping[str, "Run"], wanted: set[str]) -> None:
    """Tag the runs of this recording as current, and no others of the experiment."""
    for key, run in runs.items():
        value = "yes" if key in wanted else "no"
        if run.data.tags.get(CURRENT) != value:
            client.set_tag(run.info.run_id, CURRENT, value)


def _register(
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


def _folder() -> str:
    return f"{platform.node()}:{Path.cwd()}"


def _about_recording() -> dict[str, str]:
    """Return who recorded, and from which commit: of the recording, never of the key."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    about = {"machine": f"{platform.node()}, {platform.machine()}, {os.cpu_count()} cores"}
    if commit:
        about["mlflow.source.git.commit"] = commit
        about["commit"] = commit[:12] + (" with changes" if changes else "")
    return about


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
