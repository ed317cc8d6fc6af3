"""All stages over many datasets: DVC decides what runs, Prefect when, how often and who is told.

    prefect deployment run 'benchmark/playground' --watch

`params.yaml` says what is learned, and is never edited from here. `datasets` limits what is
brought up to date; `methods` and `seeds` limit what is reported, since DVC keeps all methods and
seeds of a dataset in one stage.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from fdbpl.settings.params import DEFAULT_PATH, Params, read_params
from fdbpl.stages.tasks import wanted
from fdbpl.system.errors import UserError
from fdbpl.system.files import locked
from fdbpl.system.workspace import Workspace
from fdbpl.tracking import EXPERIMENT, REGISTERED, record
from fdbpl.tracking.records import read_records
from flows import dvc, dvc_files, report
from flows.guardian import end_with_parent
from flows.repair import repair

AT_ONCE = 2
LOCK = Path(".fdbpl/compare.lock")
BACKOFF = [5.0, 10.0, 20.0, 60.0, *[300.0] * 46]  # four hours: the other DVC may be training

Choice = Sequence[Any]


def _busy(task: Any, run: Any, state: State[Any]) -> bool:
    """Try again when DVC was busy; what failed otherwise would fail again."""
    return isinstance(state.result(raise_on_failure=False), dvc.DvcBusy)


_WHEN_BUSY: dict[str, Any] = {
    "retries": len(BACKOFF),
    "retry_delay_seconds": BACKOFF,
    "retry_condition_fn": _busy,
}


@task(name="parameters", **_WHEN_BUSY)
def bring_parameters_up_to_date(seconds: float) -> None:
    """Write the parameters that all stages read, where `params.yaml` says others."""
    dvc.bring_parameters_up_to_date(get_run_logger().info, seconds)


@task(**_WHEN_BUSY)
def bring_up_to_date(dataset: str, words: Sequence[str], seconds: float) -> None:
    """Run what changed of a dataset's stages, as `dvc repro` is told by these words."""
    dvc.repro(*words, seconds=seconds, log=get_run_logger().info)


@task(name="compare", **_WHEN_BUSY)
def compare(seconds: float) -> list[str]:
    """Bring all that is over datasets up to date, or return the stages that have to run before."""
    with locked(LOCK):
        waiting = [stage for stage in dvc.changed_stages() if "@" in stage]
        if not waiting:
            log = get_run_logger().info
            for stage in ("compare", "ood"):
                dvc.repro("--single-item", stage, seconds=seconds, log=log)
        return waiting


@task(name="record", retries=2, retry_delay_seconds=[5, 30])
def record_in_mlflow(params: Params) -> str:
    """Show every result in MLflow, each once; again when its server did not answer."""
    records = read_records(params, Workspace(Path()))
    counts = record(records, EXPERIMENT, register=REGISTERED)
    return "\n".join(
        [
            *records.notes,
            *counts.notes,
            f"MLflow: {counts.written} runs written, {counts.found} were there",
        ]
    )


@flow(
    name="benchmark",
    log_prints=True,
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]
)
def benchmark(
    datasets: list[str] | None = None,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    hours_per_dataset: float = 24,
) -> State[Any]:
    """Bring datasets up to date and compare, and record everything in MLflow.

    Args:
        datasets: of `params.yaml`'s list; all when not given.
        methods: to report; all when not given.
        seeds: to report; all when not given.
        hours_per_dataset: after which a dataset counts as failed.
    """
    params = read_params(DEFAULT_PATH)
    chosen = _among("datasets", datasets, params.datasets)
    methods = _among("methods", methods, params.methods)
    seeds = _among("seeds", seeds, params.seeds)
    seconds = hours_per_dataset * 3600
    end_with_parent()
    dvc_files.require_git()
    for line in repair():
        print(line)
    try:
        bring_parameters_up_to_date(seconds)
        failures = _bring_all_up_to_date(params, chosen, seconds)
        waiting = [] if failures else compare(seconds)
    except BaseException:  # a cancelled run is told so here, while its threads wait for DVC
        dvc.end_all()
        raise
    print(record_in_mlflow(params))
    report.publish(params, chosen, methods, seeds, failures, compared=not (failures or waiting))
    return _final_state(params, chosen, failures, waiting)


def _among(key: str, wanted: Choice | None, listed: Choice) -> list[Any]:
    """Return `wanted`, or everything that params.yaml lists under `key`."""
    unknown = [entry for entry in wanted or () if entry not in listed]
    if unknown:
        raise UserError(
            f"{key}: {', '.join(map(str, unknown))} not in params.yaml, which lists "
            f"{', '.join(map(str, listed))}. Add to its {key}, or choose among them."
        )
    return list(wanted or listed)


def _bring_all_up_to_date(params: Params, datasets: list[str], seconds: float) -> dict[str, str]:
    """Cache the source, learn on all datasets, then evaluate; return what failed, and why.

    The source of a transfer is learned on, too.
    """
    bar: Any = create_progress_artifact(0.0, key="datasets", description="Datasets that are done")
    source = params.source
    sources = {one.learned_on(params, name) for one in wanted(params) for name in datasets}
    listed = [name for name in params.datasets if name in {*datasets, *sources}]
    failures: dict[str, str] = {}
    for step, words in (
        ("cache", {source: dvc.single_items(dvc.CACHING, source)}),
        ("learn", {name: dvc.learning(name, source) for name in listed}),
        ("evaluate", {name: dvc.single_items(["evaluate"], name) for name in datasets}),
    ):
        run = bring_up_to_date.with_options(name=step, task_run_name=f"{step} {{dataset}}")
        futures: dict[PrefectFuture[None], str] = {
            run.submit(name, one, seconds): name
            for name, one in words.items()
            if name not in failures
        }
        for done, future in enumerate(as_completed(list(futures)), start=1):
            dataset, result = futures[future], future.result(raise_on_failure=False)
            if isinstance(result, BaseException):
                failures[dataset] = str(result)
                print(f"{dataset} failed. The others go on.")
            if step == "evaluate":
                update_progress_artifact(bar, 100 * done / len(futures))
    return {name: failures[name] for name in dict.fromkeys([source, *listed]) if name in failures}


def _final_state(
    params: Params, chosen: list[str], failures: dict[str, str], waiting: list[str]
) -> State[Any]:
    if failures:
        return Failed(
            message=f"{len(failures)} of {len(chosen)} datasets failed: {', '.join(failures)}."
        )
    if waiting:
        late = sorted({stage.split("@")[1] for stage in waiting}, key=params.datasets.index)
        return Completed(
            message=f"{len(chosen)} datasets done. Not compared, since params.yaml lists others "
            f"that are not up to date: {', '.join(late)}."
        )
    return Completed(message=f"{len(chosen)} datasets done, all compared.")
