import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import IDENTITY
from hypothesis import given, settings
from hypothesis import strategies as st
from threads import threads_end

from fdbpl.cache.cache import Cache, CacheWriter, open_cache
from fdbpl.cache.format import DamagedShard
from fdbpl.cache.payload import Payload, encode
from fdbpl.cache.stream import FeatureStream, row_bytes, windows
from fdbpl.methods.features import (
    CachedColumn,
    PairedFeatures,
    StreamedFeatures,
    cached_features,
    in_order,
)
from fdbpl.training.schedule import epoch_steps

ROWS, DIM = 120, 6
FEATURES = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype("<f2")


def written(url: str | Path, payload: Payload = "float16") -> Cache:
    writer = CacheWriter(url, IDENTITY.model_copy(update={"payload": {"name": payload}}))
    for part in (slice(0, 50), slice(50, 110), slice(110, ROWS)):
        key = np.zeros((len(FEATURES[part]), 16), np.uint8)
        writer.add("train", {"key": key, **encode(FEATURES[part], payload)})
    writer.finish()
    return open_cache(url)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return written(tmp_path_factory.mktemp("stream"))


@given(
    counts=st.lists(st.integers(0, 9), max_size=20),
    limit=st.integers(1, 20),
    first=st.integers(1, 30),
)
def test_windows_double_until_they_are_as_long_as_fits(counts, limit: int, first: int) -> None:
    parts = list(windows(counts, limit, first))
    assert [n for part in parts for n in counts[part]] == counts
    sizes = [min(first * 2**number, limit) for number in range(len(parts))]
    for part, size in zip(parts, sizes, strict=True):
        assert part.stop - part.start == 1 or sum(counts[part]) <= size
    for (part, after), size in zip(pairwise(parts), sizes, strict=False):
        assert part.stop == after.start
        assert sum(counts[part]) + counts[after.start] > size


steps_of_rows = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 8)).flatmap(
        lambda shape: st.lists(
            st.integers(0, ROWS - 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
        ).map(lambda rows: np.array(rows).reshape(shape))
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(steps=steps_of_rows, memory=st.integers(0, 3000))
def test_any_order_under_any_memory_gives_the_rows(cache: Cache, steps, memory: int) -> None:
    stream = FeatureStream(cache, "train", memory=memory)
    found = list(stream.in_order(steps))
    assert len(found) == len(steps)
    for values, rows in zip(found, steps, strict=True):
        assert values.tobytes() == FEATURES[rows].tobytes()
        assert values.tobytes() == stream.take(rows).tobytes()


@pytest.mark.parametrize("payload", ["float32", "float16", "int8"])
@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_every_payload_streams_what_it_holds(tmp_path: Path, payload: Payload, scheme: str) -> None:
    cache = written(f"{scheme}{tmp_path}/c", payload)
    whole = cache.features("train")
    assert row_bytes(cache, "train") * ROWS == whole.nbytes
    rows = np.random.default_rng(1).integers(0, ROWS, 70)
    assert cache.features("train", rows).tobytes() == whole[rows].tobytes()
    steps = np.split(rows, 7)
    found = np.concatenate(list(FeatureStream(cache, "train", memory=500).in_order(steps)))
    assert found.tobytes() == whole[rows].tobytes()


def test_no_more_is_held_than_two_windows(cache: Cache, monkeypatch) -> None:
    asked: list[int] = []
    columns = Cache.columns

    def watched(self, table, *names, rows):
        asked.append(len(rows))
        assert (np.diff(rows) > 0).all()  # each once, in the order of the shards
        return columns(self, table, *names, rows=rows)

    monkeypatch.setattr(Cache, "columns", watched)
    steps = list(np.random.default_rng(2).permutation(ROWS).reshape(30, 4))
    stream = FeatureStream(cache, "train", memory=2 * 12 * DIM * 2)
    asked.clear()
    ahead = stream.in_order(steps)
    next(ahead)
    assert sum(asked) <= 24
    list(ahead)
    assert asked == [12] * 10


def test_rows_and_tables_that_are_not_there_are_refused(cache: Cache) -> None:
    with pytest.raises(KeyError):
        FeatureStream(cache, "test", memory=100)
    stream = FeatureStream(cache, "train", memory=100)
    for row in (-1, ROWS):
        with pytest.raises(IndexError, match="table of 120 rows"):
            list(stream.in_order([np.array([0]), np.array([row])]))


def test_damage_far_ahead_or_leaving_early_ends_the_reading_there(tmp_path: Path) -> None:
    cache = written(tmp_path)
    shard = cache.manifest.tables["train"].shards[-1].name
    data = bytearray((tmp_path / shard).read_bytes())
    data[-1] ^= 1
    (tmp_path / shard).write_bytes(data)
    ahead = FeatureStream(cache, "train", memory=1).in_order(list(np.arange(ROWS).reshape(12, 10)))
    found = [next(ahead) for _ in range(11)]
    assert np.concatenate(found).tobytes() == FEATURES[:110].tobytes()
    with pytest.raises(DamagedShard, match=shard):
        next(ahead)
    before = threading.active_count()
    early = FeatureStream(cache, "train", memory=1).in_order(list(np.arange(ROWS).reshape(12, 10)))
    next(early)
    early.close()  # leaves no thread
    threads_end(before)


@given(
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
    epoch=st.integers(0, 6),
    start=st.integers(0, 9),
)
def test_who_stops_at_any_step_goes_on_as_if_nobody_had(seeds, epoch: int, start: int) -> None:
    picks = {seed: np.random.default_rng(seed).permutation(24)[:20] for seed in seeds}
    order = {"crops": 5, "batch": 2, "epoch": epoch}
    whole, rest = epoch_steps(picks, **order), epoch_steps(picks, **order, start=start)
    assert len(rest) == len(whole) - start
    for step, wanted in zip(rest, whole[start:], strict=True):
        assert all((one == other).all() for one, other in zip(step, wanted, strict=True))


def test_paired_sources_of_both_kinds_go_side_by_side(cache: Cache) -> None:
    held = CachedColumn(torch.from_numpy(FEATURES))
    streamed = StreamedFeatures(FeatureStream(cache, "train", memory=100))
    steps = list(torch.randperm(ROWS).view(10, 3, 4))
    plain = list(in_order(PairedFeatures(held, held), steps))
    for source in (PairedFeatures(held, streamed), PairedFeatures(streamed, held)):
        for rows, found, wanted in zip(steps, in_order(source, steps), plain, strict=True):
            for one, other, again in zip(found, wanted, source(rows), strict=True):
                assert one.dtype == torch.float32
                assert torch.equal(one, other)
                assert torch.equal(one, again)


def test_what_fits_is_held_and_what_does_not_is_streamed(cache: Cache) -> None:
    held = cached_features(cache, FEATURES.nbytes)
    assert isinstance(held, np.ndarray)
    assert held.tobytes() == FEATURES.tobytes()
    streamed = cached_features(cache, FEATURES.nbytes - 1)
    assert isinstance(streamed, StreamedFeatures)
    assert streamed.stream.window_rows == (ROWS - 1) // 2
