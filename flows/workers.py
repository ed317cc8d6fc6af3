"""Workers on Dask and Ray through Prefect's task runners: each chunk is a task run.

They need the extras `dask` and `ray`. With a Prefect server (`fdbpl up`) the tasks show in its
interface; without one a temporary server runs as long as the workers do.
"""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from fdbpl.cache.params import WorkerParams
from fdbpl.cache.workers import Pool
from fdbpl.stages.workers import local_pool
from fdbpl.system.errors import UserError
from fdbpl.system.processes import MARK
from flows.environment import QUIET, leave_foreign

SERVER_SECONDS = 120  # for a temporary server to start, on a busy machine


def open_pool(workers: WorkerParams) -> AbstractContextManager[Pool | None]:
    """Open the workers that the parameters ask for, wherever they run.

    Raises:
        UserError: an extra is not installed.
    """
    return local_pool(workers) if workers.kind in ("threads", "processes") else _runner(workers)


@contextmanager
def _runner(workers: WorkerParams) -> Iterator[Pool]:
    if MARK not in os.environ:  # not under the project's own Prefect
        leave_foreign(os.environ)
    make = {"dask": _dask, "ray": _ray}[workers.kind]
    try:
        runner = make(workers)
    except ImportError as error:
        raise UserError(
            f"workers.kind is {workers.kind!r}: {error}. Install the extra: "
            f"pip install 'fdbpl[{workers.kind}]'"
        ) from None
    with ExitStack() as stack:
        yield _TaskRuns(runner, workers.count, stack)


def _dask(workers: WorkerParams) -> Any:
    from prefect_dask.task_runners import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.WARNING)
    if workers.address:
        return DaskTaskRunner(address=workers.address)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": workers.count,
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "dashboard_address": "127.0.0.1:0",
        }
    )


def _ray(workers: WorkerParams) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from prefect_ray.task_runners import RayTaskRunner

    if workers.address:
        return RayTaskRunner(address=workers.address)
    local = {
        "num_cpus": workers.count,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "log_to_driver": False,
    }
    return RayTaskRunner(init_kwargs=local)


class _TaskRuns:
    """A pool whose functions are task runs; server and cluster start with the first one."""

    shares_memory = False

    def __init__(self, runner: Any, count: int, stack: ExitStack) -> None:
        self.count = count
        self._runner, self._stack = runner, stack
        self._waiters: ThreadPoolExecutor | None = None

    def submit(self, function: Callable[..., str], *inputs: Any) -> Future[str]:
        if self._waiters is None:
            self._stack.enter_context(_prefect_server())
            self._stack.enter_context(self._runner)
            self._waiters = self._stack.enter_context(ThreadPoolExecutor(2 * self.count))
        # one opaque object: Prefect and Dask would look for futures in every list and array
        run = self._runner.submit(_task(), {"call": partial(function, *inputs)})
        return self._waiters.submit(_outcome, run)


def _run(call: Callable[[], str]) -> str:
    return call()


def _task() -> Any:
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    return task(name="encode a chunk", cache_policy=NO_CACHE, persist_result=False)(_run)


def _outcome(run: Any) -> str:
    """Wait for a task run; a worker that died is told from a function that failed."""
    try:
        return str(run.result())
    except UserError:
        raise
    except (CancelledError, Exception) as error:
        if type(error).__name__ in ("KilledWorker", "CrashedRun", "WorkerCrashedError"):
            raise BrokenExecutor(str(error)) from error
        raise


@contextmanager
def _prefect_server() -> Iterator[None]:
    """Run a Prefect server while the block runs, unless one is set."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
        temporary_settings,
    )

    quiet = {PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}
    if PREFECT_API_URL.value():
        with temporary_settings(quiet):
            yield
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    server = SubprocessASGIServer()
    server.start(timeout=SERVER_SECONDS)
    try:
        with temporary_settings({**quiet, PREFECT_API_URL: server.api_url}):
            yield
    finally:
        server.stop()
