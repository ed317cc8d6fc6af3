"""The benchmark of cached pixels measures what it says, at tiny sizes; times are never judged."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench import pixels
from bench.pixels import (
    ALONE,
    CACHED,
    CROPS,
    JPEG,
    SHARDED,
    THREADS,
    pieces_of,
    ways_of,
    write_shards,
)
from bench.quick import quick_plan
from fdbpl.cache import open_cache
from fdbpl.cache.pixel_stream import PixelStream
from fdbpl.cache.pixels import build_pixels
from fdbpl.clip.preprocessing import Preprocessing

WAY = Preprocessing(24, (0.5,) * 3, (0.25,) * 3, "bicubic", "shortest")


def test_every_way_reads_the_same_pixels(tmp_path: Path) -> None:
    plan = quick_plan(tmp_path, 5, CROPS)
    build_pixels(plan, tmp_path, WAY, tmp_path / "cache")
    cache = open_cache(tmp_path / "cache")
    whole = PixelStream(cache).take(np.arange(len(plan.regions)))
    np.save(tmp_path / "pixels.npy", whole)
    steps = list(np.random.default_rng(0).integers(0, len(whole), (5, 7)))
    for name, way in ways_of(plan, tmp_path, WAY, cache).items():
        for threads in THREADS if name not in (ALONE, SHARDED) else ():
            found = list(way(steps, threads))
            for pixels_of_step, rows in zip(found, steps, strict=True):
                assert np.array_equal(pixels_of_step, whole[rows])
    assert len(list(pieces_of(cache))) == len(whole)


def test_the_table_has_every_way(tmp_path: Path) -> None:
    words = ["--images", "2", "--regions", "4", "--steps", "2", "--size", "16", "--rounds", "1"]
    path = tmp_path / "pixels.json"
    done = CliRunner().invoke(pixels.main, [*words, "--json", str(path)])
    assert done.exit_code == 0, done.output
    assert "% of zstd alone" in done.output
    found = json.loads(path.read_text())
    assert {ALONE, CACHED, JPEG} < set(found["regions_s"])
    assert all(set(rates) == {"1", "2"} for rates in found["regions_s"].values())


def test_the_shards_of_webdataset_hold_the_same_images(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    plan = quick_plan(tmp_path, 40, CROPS, suffix="jpg")
    build_pixels(plan, tmp_path, WAY, tmp_path / "cache")
    cache = open_cache(tmp_path / "cache")
    whole = PixelStream(cache).take(np.arange(len(plan.regions)))
    np.save(tmp_path / "pixels.npy", whole)
    write_shards(plan, tmp_path)
    way = ways_of(plan, tmp_path, WAY, cache)[SHARDED]
    first, second = way([np.arange(16), np.arange(16)], 1)
    assert np.array_equal(first, whole[: 16 * CROPS : CROPS])
    assert np.array_equal(second, whole[16 * CROPS : 32 * CROPS : CROPS])
