"""Work on several datasets or models at a time."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes that share the cores evenly; what has not begun ends with the block."""
    share = str(max(1, (os.cpu_count() or 1) // jobs))
    settings = {"OMP_NUM_THREADS": share, "OMP_WAIT_POLICY": "passive"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)  # torch reads them once, when a process starts
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=_end_with, initargs=(os.getpid(),)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _end_with(parent: int) -> None:
    """End this process once its parent is gone, since a new run of the same would meet it."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
