"""A cache's features, read within bounded memory in an order that is known beforehand.

An order of training visits rows from everywhere in the cache, and every row lies in a compressed
block with its neighbours. So the steps ahead are cut into windows that fit in memory, and each
window's rows are read in the order of the shards, every block once, while the window before it is
used. The order itself is the caller's: the same steps give the same numbers under any memory.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import Cache, Rows
from fdbpl.system.ahead import threads_of_generator

FIRST_ROWS = 32

Array = NDArray[Any]


class FeatureStream:
    """Reads the features of a table's rows, holding at most about `memory` bytes of them.

    Besides these, reading holds one shard and its decoded blocks.
    """

    def __init__(self, cache: Cache, table: str, *, memory: int) -> None:
        """Stream `table` of an open cache; nothing is read yet."""
        self._cache, self._table = cache, table
        self.window_rows = max(1, memory // 2 // row_bytes(cache, table))  # one used, one read

    def take(self, rows: Rows) -> Array:
        """Return the features (..., D) of `rows` (...), in any order, repeats allowed.

        Raises DamagedShard naming the shard, IndexError for a row out of range.
        """
        distinct, features = self._read([rows])
        taken: Array = features[np.searchsorted(distinct, rows)]
        return taken

    def in_order(self, steps: Sequence[Rows]) -> Iterator[Array]:
        """Yield what `take` returns for the rows of each step, read ahead by a thread.

        Closing the iterator ends the reading. Raises as `take` does.
        """
        parts = [steps[part] for part in windows([rows.size for rows in steps], self.window_rows)]
        with threads_of_generator(1, "fdbpl-stream") as reader:
            ahead: Future[tuple[Rows, Array]] | None = None
            for part, following in zip_longest(parts, parts[1:]):
                distinct, features = (ahead or reader.submit(self._read, part)).result()
                ahead = reader.submit(self._read, following) if following else None
                for rows in part:
                    yield features[np.searchsorted(distinct, rows)]
                del features  # before the window after the next is read

    def _read(self, steps: Sequence[Rows]) -> tuple[Rows, Array]:
        """Return the distinct rows of the steps, ascending, and their features."""
        distinct = np.unique(np.concatenate([rows.ravel() for rows in steps]))
        return distinct, self._cache.features(self._table, distinct)


def row_bytes(cache: Cache, table: str) -> int:
    """Return the bytes that one row's features take in memory."""
    none = cache.features(table, np.empty(0, np.int64))
    return int(np.prod(none.shape[1:], dtype=np.int64)) * none.itemsize


def windows(counts: Sequence[int], limit: int, first: int = FIRST_ROWS) -> Iterator[slice]:
    """Cut steps of `counts` rows into windows of at most `limit` rows, but one step at least.

    The first has at most `first` rows and each may have twice those of the one before, so that
    the first steps come soon and long reading is not cut short.
    """
    start, total, size = 0, 0, min(first, limit)
    for step, count in enumerate(counts):
        if step > start and total + count > size:
            yield slice(start, step)
            start, total, size = step, 0, min(2 * size, limit)
        total += count
    if start < len(counts):
        yield slice(start, len(counts))
