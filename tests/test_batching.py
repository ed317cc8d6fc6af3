import asyncio
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.serving.batching import Batcher, QueueFull


def pixels(value: float) -> np.ndarray:
    return np.full((3, 2, 2), value, np.float32)


def doubled(batch: np.ndarray) -> np.ndarray:
    return 2 * batch.mean(axis=(2, 3))


async def asked(batcher: Batcher, values: list[float]) -> list[np.ndarray]:
    task = asyncio.create_task(batcher.run())
    try:
        return list(await asyncio.gather(*(batcher.submit(pixels(one)) for one in values)))
    finally:
        task.cancel()


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=40), size=st.integers(1, 9))
def test_every_picture_gets_its_own_answer_in_batches_of_the_size(values, size: int) -> None:
    sizes = []

    def noted(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return doubled(batch)

    batcher = Batcher(noted, room=64, batch=size, wait=0.001)
    found = asyncio.run(asked(batcher, values))
    np.testing.assert_allclose([one[0] for one in found], 2 * np.array(values), rtol=1e-6)
    assert max(sizes) <= size
    assert (batcher.batches, batcher.pictures) == (len(sizes), len(values))


def test_pictures_that_come_together_are_classified_together() -> None:
    batcher = Batcher(doubled, room=64, batch=32, wait=0.05)
    asyncio.run(asked(batcher, [1.0] * 20))
    assert batcher.batches == 1


def test_a_single_picture_does_not_wait_long_for_others() -> None:
    batcher = Batcher(doubled, room=4, wait=30)
    start = time.perf_counter()
    asyncio.run(asked(batcher, [1.0]))  # none is coming
    assert time.perf_counter() - start < 5


def test_a_picture_waits_for_one_that_is_coming() -> None:
    async def ask() -> int:
        batcher = Batcher(doubled, room=4, wait=30)
        task = asyncio.create_task(batcher.run())
        with batcher.coming():
            first = asyncio.ensure_future(batcher.submit(pixels(1)))
            await asyncio.sleep(0.05)
            assert not first.done()
            second = batcher.submit(pixels(2))
        await first
        await second
        task.cancel()
        return batcher.batches

    assert asyncio.run(ask()) == 1


def test_no_more_pictures_wait_than_there_is_room_for() -> None:
    async def fill() -> None:
        batcher = Batcher(doubled, room=2)
        waiting = [batcher.submit(pixels(1)), batcher.submit(pixels(2))]
        assert batcher.waiting == 2
        with pytest.raises(QueueFull):
            batcher.submit(pixels(3))
        for one in waiting:
            asyncio.ensure_future(one).cancel()

    asyncio.run(fill())


def test_a_batch_that_fails_fails_for_those_in_it_alone() -> None:
    def careful(batch: np.ndarray) -> np.ndarray:
        if (batch < 0).any():
            raise ValueError("negative")
        return doubled(batch)

    async def ask() -> tuple[list[object], np.ndarray]:
        batcher = Batcher(careful, room=8, batch=2, wait=0.001)
        task = asyncio.create_task(batcher.run())
        both = [batcher.submit(pixels(-1)), batcher.submit(pixels(1))]
        failed = await asyncio.gather(*both, return_exceptions=True)
        sound = await batcher.submit(pixels(3))
        task.cancel()
        return list(failed), sound

    failed, sound = asyncio.run(ask())
    assert [str(one) for one in failed] == ["negative", "negative"]
    assert sound[0] == 6


def test_whoever_is_gone_costs_others_nothing() -> None:
    async def ask() -> np.ndarray:
        batcher = Batcher(doubled, room=8, wait=0.01)
        gone = asyncio.ensure_future(batcher.submit(pixels(1)))
        gone.cancel()
        task = asyncio.create_task(batcher.run())
        found = await batcher.submit(pixels(2))
        task.cancel()
        return found

    assert asyncio.run(ask())[0] == 4
