"""A measurement in a process of its own, so that its peak of memory is its own."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def in_process(work: Callable[..., dict[str, Any]], *given: Any, threads: int) -> dict[str, Any]:
    """Return what `work` returns in a fresh process with so many threads."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()
