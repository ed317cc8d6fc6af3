"""Pixels by rows: any order, threads and memory give the same; damage is named; memory is safe."""

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import Lab
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pixels import WAY
from test_stream import steps_of_rows
from threads import threads_end

from fdbpl.cache import Cache, open_cache
from fdbpl.cache import pixels as caching
from fdbpl.cache.format import DamagedShard
from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.cache.pixels import add_green, build_pixels
from fdbpl.cache.place import Place
from fdbpl.methods.features import in_order
from fdbpl.methods.pixels import CachedPixels
from fdbpl.system.errors import UserError

ROWS = 120
ROW_BYTES = 3 * 16 * 16


@pytest.fixture(scope="module", params=["", "memory://"])
def cache(request, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return made(tmp_path_factory.mktemp("pixels"), request.param)


def made(root: Path, scheme: str = "") -> Cache:
    lab, url = Lab(root), f"{scheme}{root}/c"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caching, "SHARD_BYTES", 50 * ROW_BYTES)
        build_pixels(lab.plan(train=8, crops=15), lab.folder, WAY, url)
    return open_cache(url)


def whole(cache: Cache) -> np.ndarray:
    found = cache.column("train", "pixels")
    for one in found:
        add_green(one)
    return found


@settings(deadline=None, max_examples=25)
@given(
    steps=steps_of_rows,
    memory=st.integers(0, 60 * ROW_BYTES),
    held=st.sampled_from([0, 1 << 30]),
    threads=st.integers(1, 3),
)
def test_any_order_under_any_memory_gives_the_rows(cache, steps, memory, held, threads) -> None:
    stream, wanted = PixelStream(cache, memory=memory, held=held, threads=threads), whole(cache)
    for _ in range(2):  # the second time in memory that the first gave back
        found = list(stream.in_order(steps))
        assert len(found) == len(steps)
        for pixels, rows in zip(found, steps, strict=True):
            assert pixels.tobytes() == wanted[rows].tobytes()
            assert pixels.tobytes() == stream.take(rows).tobytes()


def test_tensors_come_step_by_step_in_bytes(cache: Cache) -> None:
    source, steps = CachedPixels(PixelStream(cache)), list(torch.randperm(ROWS).view(10, 3, 4))
    wanted = torch.from_numpy(whole(cache))
    for rows, found in zip(steps, in_order(source, steps), strict=True):
        assert found.dtype == torch.uint8
        assert torch.equal(found, wanted[rows])
        assert torch.equal(source(rows), found)


def test_memory_is_lent_again_only_when_nothing_refers_to_it(cache: Cache) -> None:
    stream, wanted = PixelStream(cache, memory=40 * ROW_BYTES), whole(cache)
    steps = list(np.random.default_rng(0).integers(0, ROWS, (60, 4)))
    parts = [torch.from_numpy(pixels)[1, 0, 2:5] for pixels in stream.in_order(steps)]
    for part, rows in zip(parts, steps, strict=True):
        assert (part.numpy() == wanted[rows[1], 0, 2:5]).all()
    del part, parts
    gc.collect()
    places = set()
    for pixels in stream.in_order(steps):
        places.add(pixels.ctypes.data)
    assert len(places) < 40
    assert sum(one.nbytes for one in stream._free._arrays) <= 40 * ROW_BYTES


def test_no_more_stands_ready_than_three_windows(cache: Cache, monkeypatch) -> None:
    read: list[int] = []
    fill = Cache.fill

    def watched(self, table, name, rows, targets, **options):
        read.append(len(rows))
        assert (np.diff(rows) >= 0).all()
        return fill(self, table, name, rows, targets, **options)

    monkeypatch.setattr(Cache, "fill", watched)
    steps = list(np.random.default_rng(2).permutation(ROWS).reshape(30, 4))
    ahead = PixelStream(cache, memory=3 * 12 * ROW_BYTES).in_order(steps)
    next(ahead)
    assert sum(read) <= 36
    list(ahead)
    assert read == [12] * 10


def test_held_shards_are_read_once(tmp_path: Path, monkeypatch) -> None:
    cache, opened = made(tmp_path), list[str]()
    open_it = Place.open

    def counting(self, name, *, whole):
        opened.append(name)
        return open_it(self, name, whole=whole)

    monkeypatch.setattr(Place, "open", counting)
    stream = PixelStream(cache, held=cache.manifest.tables["train"].size)
    for _ in range(3):
        list(stream.in_order(list(np.arange(ROWS).reshape(12, 10))))
    assert len(opened) == len(set(opened)) == 3


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_damage_far_ahead_or_leaving_early_ends_the_reading(tmp_path: Path, held: int) -> None:
    cache = made(tmp_path)
    shard = tmp_path / "c" / cache.manifest.tables["train"].shards[-1].name
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    steps, before = list(np.arange(ROWS).reshape(12, 10)), threading.active_count()
    ahead = PixelStream(cache, memory=1, held=held).in_order(steps)
    found = [next(ahead) for _ in range(11)]
    assert np.concatenate(found).shape == (110, 3, 16, 16)
    with pytest.raises(DamagedShard, match=shard.name):
        next(ahead)
    early = PixelStream(cache, memory=1, held=held).in_order(steps)
    next(early)
    early.close()  # leaves no thread
    threads_end(before)
    shard.unlink()
    with pytest.raises(DamagedShard, match=rf"{shard.name}.*missing"):
        PixelStream(open_cache(tmp_path / "c"), held=held).take(np.array([ROWS - 1]))


def test_other_caches_and_rows_that_are_not_there_are_refused(cache: Cache, tmp_path: Path) -> None:
    for row in (-1, ROWS):
        with pytest.raises(IndexError, match="table of 120 rows"):
            PixelStream(cache).take(np.array([0, row]))
    lab = Lab(tmp_path)
    lab.build()
    with pytest.raises(UserError, match=r"kind 'teacher'.*wanted pixels.*run cache-teacher"):
        PixelStream(lab.open())
    with pytest.raises(ValueError, match="'feature' has no bytes in blocks of single rows"):
        list(lab.open().fill("train", "feature", np.array([0]), [np.empty(16, np.uint8)]))
