"""Everything MLflow: records become runs, and a run is written once however often it is recorded.

A run carries the key of its record as a tag, and another tag, set last, that says it is whole.
Recording looks for the keys first, writes what is missing, and replaces what a kill left half
written; so it restores a deleted database, and adds nothing to a whole one.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fdbpl.system.errors import UserError
from fdbpl.system.files import locked
from fdbpl.system.machine import commit, git
from fdbpl.system.progress import Report, silent
from fdbpl.tracking import database
from fdbpl.tracking.contents import Content, of_seed, of_summary
from fdbpl.tracking.models import register_models
from fdbpl.tracking.records import Records, SeedRecord
from fdbpl.tracking.uris import FOLDER, SETTING, artifacts_uri, store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "fdbpl"
KEY, COMPLETE, FOLDER_TAG, CURRENT = "fdbpl.key", "fdbpl.complete", "fdbpl.folder", "current"
METRICS_A_BATCH = 1000
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": """Filters that help:

- methods over all datasets: `tags.kind = 'summary' and tags.current = 'yes'`, as charts
- one method, every dataset: `tags.method = 'fdbpl' and tags.seed = '1' and \
tags.setting = 'base-to-new' and tags.current = 'yes'`
- one dataset, all methods: `tags.dataset = 'textures' and tags.current = 'yes'`
- one protocol: `tags.setting = 'base-to-new'`, or 'all-classes', 'cross-dataset', 'shifted'
- a curve over shots: `tags.setting = 'all-classes' and tags.method = 'fdbpl'`, by `shots`
""",
}


@dataclass(frozen=True)
class Counts:
    """What a recording did: runs that were there, written anew, and removed as half written.

    `notes` say in a sentence each what could not become a registered model.
    """

    found: int
    written: int
    removed: int
    notes: tuple[str, ...] = ()


def record(
    records: Records, experiment: str, *, register: Collection[str] = (), report: Report = silent
) -> Counts:
    """Make MLflow hold every one of `records` exactly once, and mark them as current.

    Args:
        records: of one workspace.
        experiment: the workspace's; runs of other experiments are not looked at.
        register: methods whose classifiers become registered models, one a dataset and method;
            those that learned no prompts have none.
        report: follows the runs that are written.

    Raises:
        UserError: MLflow cannot be reached, or refuses.
    """
    contents = [of_seed(one) for one in (*records.seeds, *records.transfers)]
    contents += [of_summary(one) for one in records.summaries]
    with locked(FOLDER / "record.lock"), _opened() as client:
        experiment_id = _experiment(client, experiment)
        runs, broken = _whole_and_broken(client, experiment_id)
        for run in broken:
            client.delete_run(run.info.run_id)
        missing = [one for one in contents if one.key not in runs]
        about = _about_recording()
        for done, content in enumerate(missing, start=1):
            report(done, len(missing))
            runs[content.key] = _write(client, experiment_id, content, about)
        _mark_current(client, runs, {one.key for one in contents})
        notes = register_models(client, records, runs, register)
    return Counts(len(contents) - len(missing), len(missing), len(broken), tuple(notes))


@contextmanager
def _opened() -> Iterator["MlflowClient"]:
    """Open what keeps runs; tell an error of MLflow's in one line."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # seconds, not minutes
    from mlflow import MlflowClient  # takes three seconds
    from mlflow.exceptions import MlflowException

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)  # it raises what it logs
    place = store_uri()
    if not os.environ.get(SETTING):
        database.prepare(FOLDER)
    try:
        yield MlflowClient(place, registry_uri=place)
    except MlflowException as error:
        where, remedy = place, f"Start it, or check {SETTING}"
        if not os.environ.get(SETTING):
            where, remedy = str(FOLDER), "Check its files, and make room on their disk"
        raise UserError(
            f"{where}: MLflow fails: {database.cause(error)}. {remedy}, then record again."
        ) from error


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        own = not os.environ.get(SETTING)
        place = artifacts_uri() if own else None
        identifier: str = client.create_experiment(
            name, artifact_location=place, tags=EXPERIMENT_TAGS
        )
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


def _write(
    client: "MlflowClient", experiment_id: str, content: Content, about: Mapping[str, str]
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


def _folder() -> str:
    return f"{platform.node()}:{Path.cwd()}"


def _about_recording() -> dict[str, str]:
    """Return who recorded, and from which commit: of the recording, never of the key."""
    about = {"machine": f"{platform.node()}, {platform.machine()}, {os.cpu_count()} cores"}
    if found := commit():
        about["mlflow.source.git.commit"] = git("rev-parse", "HEAD")
        about["commit"] = found
    return about
