"""Pixels of regions, decoded on several threads ahead of the steps that ask for them.

As `fdbpl.cache.stream` reads features: the steps ahead are cut into windows that fit in memory, and
a window's rows are read in the order of the shards while those before it are used. Here each
row is a block of its own and large, so it is decoded right into the array of its step.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from fdbpl.cache.cache import Cache, Rows
from fdbpl.cache.pixels import COLUMN, DTYPE, PAYLOAD, Views, add_green
from fdbpl.cache.stream import windows
from fdbpl.system.ahead import threads_of_generator
from fdbpl.system.errors import UserError

THREADS = 2
MEMORY = 256 << 20
JOB_ROWS = 32  # that a thread decodes at a time: few enough to share a window out evenly


class PixelStream:
    """Reads the pixels of a cache's views, holding at most about `memory` bytes of them.

    Steps that are in use do not count. Shards that are no more than `held` bytes together are kept
    as they lie, compressed, once they were read: then no file is read twice, near or far.
    """

    def __init__(
        self,
        cache: Cache,
        table: str = "train",
        *,
        memory: int = MEMORY,
        held: int = 0,
        threads: int = THREADS,
    ) -> None:
        """Stream a table of an open cache of pixels; nothing is read yet.

        Raises UserError for a cache of anything else, or one that keeps pixels in another way.
        """
        identity = cache.manifest.identity
        if identity.payload != PAYLOAD:
            raise UserError(
                f"{cache.url}: a cache of kind {identity.kind!r} and payload {identity.payload}, "
                f"wanted pixels and {PAYLOAD}: run cache-teacher again"
            )
        content = cache.manifest.tables[table]
        self._cache, self._table, self._threads = cache, table, threads
        self._holds = content.size <= held
        self._free = _Free(memory)
        self.shape = content.columns[COLUMN].shape
        # one used, one read, and one that waits, so that no thread does
        self.window_rows = max(1, memory // 3 // math.prod(self.shape))

    def take(self, rows: Rows) -> Views:
        """Return the pixels (..., 3, S, S) of `rows` (...), in any order, repeats allowed.

        Raises DamagedShard naming the shard, IndexError for a row out of range.
        """
        return next(self.in_order([rows]))

    def in_order(self, steps: Sequence[Rows]) -> Iterator[Views]:
        """Yield what `take` returns for the rows of each step, read ahead by threads.

        Closing the iterator ends the reading. Raises as `take` does.
        """
        parts = windows([rows.size for rows in steps], self.window_rows)
        with threads_of_generator(self._threads, "fdbpl-pixels") as pool:
            begun = deque(self._begin(pool, steps[part]) for part in islice(parts, 2))
            while begun:
                found, jobs = begun.popleft()
                for job in jobs:
                    job.result()
                begun.extend(self._begin(pool, steps[part]) for part in islice(parts, 1))
                while found:
                    yield found.popleft()

    def _begin(
        self, pool: ThreadPoolExecutor, steps: Sequence[Rows]
    ) -> tuple[deque[Views], list[Future[None]]]:
        """Return an array for each step, and the jobs that fill them."""
        found = deque(self._free.lend((*rows.shape, *self.shape)) for rows in steps)
        rows = np.concatenate([rows.ravel() for rows in steps])
        places = [place for array in found for place in array.reshape(-1, *self.shape)]
        order = np.argsort(rows, kind="stable")
        jobs = [
            pool.submit(self._fill, rows[here], [places[i] for i in here.tolist()])
            for here in (order[i : i + JOB_ROWS] for i in range(0, len(order), JOB_ROWS))
        ]
        return found, jobs

    def _fill(self, rows: Rows, places: Sequence[Views]) -> None:
        for kept in self._cache.fill(self._table, COLUMN, rows, places, hold=self._holds):
            add_green(kept)  # while it is in the processor's cache


class _Free:
    """Memory of steps that nobody holds any more, at most `most` bytes, for steps to come.

    What the system gives anew it first fills with zeros, page by page.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._arrays: list[Views] = []

    def lend(self, shape: tuple[int, ...]) -> Views:
        """Return an array of this shape, whose memory comes back with the last reference to it."""
        while self._arrays:
            array = self._arrays.pop()
            if array.shape == shape:
                return np.asarray(_Loan(array, self))
        return np.asarray(_Loan(np.empty(shape, DTYPE), self))

    def take_back(self, array: Views) -> None:
        """Keep the array for another step, if there is room."""
        if sum(one.nbytes for one in self._arrays) + array.nbytes <= self._most:
            self._arrays.append(array)


class _Loan:
    """An array as others see it: theirs refer to this, and it ends when none does."""

    def __init__(self, array: Views, free: _Free) -> None:
        self._array, self._free = array, free
        self.__array_interface__ = array.__array_interface__

    def __del__(self) -> None:
        self._free.take_back(self._array)
