"""The cache's benchmarks measure what they say, at tiny sizes; times are never judged."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench import cache
from bench.cache import Settings, order, unit_features
from bench.cache_formats import FORMATS

REGIONS, DIM, CROPS = 160, 64, 4


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_back_what_it_was_given(name: str, tmp_path: Path) -> None:
    pytest.importorskip("zarr" if name.startswith("zarr") else "numpy")
    one, features = FORMATS[name], unit_features(REGIONS, DIM)
    one.build(features, CROPS, tmp_path)
    assert np.array_equal(one.open(tmp_path, 4096).whole(), features)
    steps = order(REGIONS, CROPS, 8)
    found = list(one.open(tmp_path, 4096).batches(steps))
    assert len(found) == len(steps) == REGIONS // CROPS // 8
    assert all(np.array_equal(features[rows], x) for rows, x in zip(steps, found, strict=True))


def test_flipped_bits_are_told_from_those_that_pass_unseen(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", unit_features(3200, 256))
    source, built = str(tmp_path / "features.npy"), str(tmp_path / "x")
    found, unseen = (
        cache.flips(Settings(name, source, built, 10, 32, 1, 8, 0)) for name in ("fdbpl", "memmap")
    )
    assert found == {"flips_found": 8, "flips_silent": 0}
    assert unseen["flips_found"] < 2 < unseen["flips_silent"]


def test_the_table_has_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.finding, "in_process", lambda work, settings, threads: work(settings))
    words = ["--regions", "640", "--dim", "256", "--rounds", "2", "--repeats", "1", "--flips", "4"]
    only = [word for name in ("fdbpl", "memmap") for word in ("--only", name)]
    path = tmp_path / "cache.json"
    done = CliRunner().invoke(cache.main, [*words, *only, "--json", str(path)])
    assert done.exit_code == 0, done.output
    assert "| fdbpl | " in done.output
    formats = json.loads(path.read_text())["formats"]
    assert formats["fdbpl"]["bytes_per_region"] < formats["memmap"]["bytes_per_region"]


def row(**changes: float) -> dict[str, float]:
    alike = dict.fromkeys(cache.COLUMNS, 10.0)
    return {**alike, "bytes_per_region": 80.0, "flips_silent": 0, **changes}


def test_a_column_is_lost_to_those_alone_that_compress_and_check() -> None:
    rows = {
        "fdbpl": row(),
        "plain": row(bytes_per_region=100.0, read_mb_s=99.0),
        "careless": row(read_mb_s=99.0, flips_silent=1),
        "peer": row(build_mb_s=9.0),
    }
    assert cache.standing(rows, 100).endswith(": peer. Among them it is first in every column.")
    rows["peer"] = row(first_batch_ms=9.0)
    assert "every column but first batch, ms (ahead: peer)." in cache.standing(rows, 100)
