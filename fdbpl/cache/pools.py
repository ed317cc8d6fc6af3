"""Pools of workers on this machine: threads, and processes that outlive neither it nor a kill."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from fdbpl.cache.workers import Pool
from fdbpl.system.processes import WORKER


@contextmanager
def thread_pool(count: int) -> Iterator[Pool]:
    """Open a pool of threads, which share the encoder."""
    pool = _Threads(count)
    with pool.executor:
        yield pool


@contextmanager
def process_pool(count: int) -> Iterator[Pool]:
    """Open a pool of processes, started when they are needed, each with an encoder of its own.

    When one is killed, those that work beside it end too, and new ones take their places. Each
    knows its number (`fdbpl.system.processes.WORKER`), so that several GPUs are shared out
    among them.
    """
    pool = _Processes(count)
    try:
        yield pool
    finally:
        pool.executor.shutdown(cancel_futures=True)


class _Threads:
    shares_memory = True

    def __init__(self, count: int) -> None:
        self.count = count
        self.executor = ThreadPoolExecutor(count, thread_name_prefix="worker")

    def submit(self, function: Callable[..., str], *inputs: Any) -> Future[str]:
        return self.executor.submit(function, *inputs)


class _Processes:
    shares_memory = False

    def __init__(self, count: int) -> None:
        self.count = count
        self.executor = self._start()

    def submit(self, function: Callable[..., str], *inputs: Any) -> Future[str]:
        try:
            return self.executor.submit(function, *inputs)
        except BrokenProcessPool:
            self.executor = self._start()
            return self.executor.submit(function, *inputs)

    def _start(self) -> ProcessPoolExecutor:
        # spawn: a forked child of a process with threads may find their locks held for ever
        spawn = multiprocessing.get_context("spawn")
        share = max(1, len(os.sched_getaffinity(0)) // self.count)
        begin = share, spawn.Value("i", 0)
        return ProcessPoolExecutor(self.count, spawn, initializer=_begin, initargs=begin)


def _begin(threads: int, numbers: Any) -> None:
    """Begin a worker process: its share of processors and GPUs, and no life without its parent."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with numbers.get_lock():
        os.environ[WORKER] = str(numbers.value)
        numbers.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends its workers
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
