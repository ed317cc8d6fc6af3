"""Work done ahead by threads, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def ahead(work: Callable[[Job], Result], jobs: Iterable[Job], threads: int) -> Iterator[Result]:
    """Yield work(job) in the jobs' order, done by threads that stay at most two jobs ahead each.

    Closing the iterator ends the work: what threads are at goes on, nothing else is begun.
    """
    waiting: deque[Future[Result]] = deque()
    with threads_of_generator(threads) as pool:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def threads_of_generator(threads: int, name: str = "") -> Iterator[ThreadPoolExecutor]:
    """Give a generator threads that end with it.

    It waits for them at its own end and at an error, but not where it is closed: an abandoned
    generator is closed by the garbage collector, in whichever thread that runs, and one that is
    just beginning holds the lock which waiting for another needs.
    """
    pool = ThreadPoolExecutor(threads, name)
    wait = True
    try:
        yield pool
    except GeneratorExit:
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
