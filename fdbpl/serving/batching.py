"""Pictures of many requests, classified together: at most so many, after at most so long a wait."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
Logits = NDArray[np.floating[Any]]

BATCH = 32
WAIT = 0.005
"""Pictures of a batch at most, and seconds that its first waits for others."""


class QueueFull(Exception):  # noqa: N818 - a state of the server
    """As many pictures wait as may."""


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    logits: "asyncio.Future[Logits]"


class Batcher:
    """Gives pictures of concurrent requests to a model in batches.

    A picture's logits do not depend on what else is in its batch, but by rounding.

    Args:
        logits: from pixels (n, 3, S, S) to logits (n, C); called in a thread by every `run`.
        room: pictures that may wait.
        batch: pictures of a batch at most.
        wait: seconds that a batch's first picture waits for those that are `coming`.
    """

    def __init__(
        self,
        logits: Callable[[Pixels], Logits],
        room: int,
        batch: int = BATCH,
        wait: float = WAIT,
    ) -> None:
        """Nothing runs before `run`."""
        self._logits, self._batch, self._wait = logits, batch, wait
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(room)
        self._coming = 0
        self.batches = self.pictures = 0
        """How many were classified."""

    @property
    def waiting(self) -> int:
        """Pictures that wait."""
        return self._queue.qsize()

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Announce a picture that is still read: a batch waits for such ones, and for no others."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    def submit(self, pixels: Pixels) -> Awaitable[Logits]:
        """Return the logits (C,) of a picture's pixels (3, S, S), to be awaited.

        Raises:
            QueueFull: as many wait as may.
        """
        waiting = _Waiting(pixels, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise QueueFull from None
        return waiting.logits

    async def run(self) -> None:
        """Classify batch after batch, until cancelled; several may run at once."""
        while True:
            group = await self._next()
            try:
                found = await asyncio.to_thread(
                    self._logits, np.stack([one.pixels for one in group])
                )
            except Exception as error:  # the requests fail, and the next batch is tried
                for one in group:
                    if not one.logits.done():
                        one.logits.set_exception(error)
                continue
            self.batches, self.pictures = self.batches + 1, self.pictures + len(group)
            for one, row in zip(group, found, strict=True):
                if not one.logits.done():  # whoever asked may be gone
                    one.logits.set_result(row)

    async def _next(self) -> list[_Waiting]:
        """Wait for a picture, then a little for those that are coming; return what came."""
        group = [await self._queue.get()]
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait
        while len(group) < self._batch:
            try:
                group.append(self._queue.get_nowait())
            except asyncio.QueueEmpty:
                left = end - loop.time()
                if left <= 0 or not self._coming:
                    break
                try:
                    group.append(await asyncio.wait_for(self._queue.get(), left))
                except TimeoutError:
                    break
        return [one for one in group if not one.logits.cancelled()] or await self._next()
