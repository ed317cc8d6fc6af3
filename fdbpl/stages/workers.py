"""Workers as the parameters ask for them: this process, or threads or processes beside it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from fdbpl.cache.params import WorkerParams
from fdbpl.cache.workers import Pool, process_pool, thread_pool
from fdbpl.system.errors import UserError

OpenPool = Callable[[WorkerParams], AbstractContextManager[Pool | None]]
"""Opens the workers that the parameters ask for; None: this process does it alone."""


def local_pool(workers: WorkerParams) -> AbstractContextManager[Pool | None]:
    """Open workers on this machine.

    Raises:
        UserError: workers of a kind that only flows and the command line can start.
    """
    if workers.kind == "threads":
        return nullcontext() if workers.count == 1 else thread_pool(workers.count)
    if workers.kind == "processes":
        return process_pool(workers.count)
    raise UserError(
        f"workers.kind is {workers.kind!r}, wanted threads or processes: Dask and Ray encode for "
        "dvc repro, flows and fdbpl cache-teacher alone."
    )
