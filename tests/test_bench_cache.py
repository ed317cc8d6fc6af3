"""The cache's benchmarks measure what they say, at tiny sizes; times are never judged."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench import cache, cache_way, scale, stream_way
from bench.blocks import replace_block
from bench.cache_formats import FORMATS, Npz
from bench.cache_way import Settings, order, unit_features

REGIONS, DIM, CROPS = 160, 64, 4
NEEDS = {"WebDataset": "webdataset", "LitData": "litdata", "MosaicML streaming": "streaming"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_back_what_it_was_given(name: str, tmp_path: Path) -> None:
    pytest.importorskip("zarr" if name.startswith("zarr") else NEEDS.get(name, "numpy"))
    one, features = FORMATS[name], unit_features(REGIONS, DIM)
    one.build(features, CROPS, tmp_path)
    assert np.array_equal(one.open(tmp_path, 4096).whole(), features)
    steps = order(REGIONS, CROPS, 8)
    found = list(one.open(tmp_path, 4096).batches(steps))
    assert len(found) == len(steps) == REGIONS // CROPS // 8
    known = {row.tobytes() for row in features}
    assert all({row.tobytes() for row in batch} <= known for batch in found)
    if name not in ("WebDataset", "LitData"):
        assert all(np.array_equal(features[rows], x) for rows, x in zip(steps, found, strict=True))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    np.save(tmp_path / "features.npy", unit_features(3200, 256))
    return Settings("fdbpl", str(tmp_path / "features.npy"), str(tmp_path / "x"), 10, 32, 1, 8, 0)


def test_flipped_bits_are_told_from_those_that_pass_unseen(settings: Settings) -> None:
    found, unseen = (cache_way.flips(replace(settings, name=name)) for name in ("fdbpl", "memmap"))
    assert found == {"flips": 8, "flips_found": 8, "flips_silent": 0}
    assert unseen["flips_found"] < 2 < unseen["flips_silent"]


def test_the_codec_is_compared_with_the_same_planes(settings: Settings) -> None:
    assert min(cache_way.codec(settings).values()) > 0


def test_the_page_says_who_is_ahead_and_leaves_the_rest_alone(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(settings: Settings, action: str, packages: Path | None) -> dict:
        if settings.name == Npz.name:
            return {"absent": "no such package"}
        return {"measure": cache_way.measure, "flips": cache_way.flips, "codec": cache_way.codec}[
            action
        ](settings)

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench.cache:begin -->\nold\n<!-- bench.cache:end -->\nafter\n")
    monkeypatch.setattr(cache, "DOC", page)
    monkeypatch.setattr(cache, "run", in_this_process)
    words = ["--regions", "640", "--dim", "256", "--rounds", "2", "--repeats", "1", "--flips", "4"]
    only = [word for name in ("fdbpl", "npz", "memmap") for word in ("--only", name)]
    path = tmp_path / "cache.json"
    done = CliRunner().invoke(cache.main, [*words, *only, "--json", str(path), "--doc"])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "- npz was not measured: no such package" in text
    assert "| fdbpl | " in text
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


def test_streamed_training_is_measured_beside_held(tmp_path: Path) -> None:
    settings = stream_way.Settings(str(tmp_path), 400, 10, 3, 8, 1, 0, "kdpl")
    for role, dim in (("student", 128), ("teacher", stream_way.TEACHER_DIM)):
        stream_way.write_cache(tmp_path / role, 400, dim)
    streamed = stream_way.measure(settings)
    held = stream_way.measure(replace(settings, memory_mb=64))
    assert (streamed["streamed"], held["streamed"]) == (True, False)
    assert streamed["amplification"] > 1 == held["amplification"]
    assert streamed["stored_mb"] < streamed["raw_mb"]
    assert asdict(settings)["regions"] == streamed["regions"]


def test_very_many_regions_are_multiples_of_one() -> None:
    found = dict.fromkeys(
        ["decode_image_s", *(f"{what}_{name}_s" for what in ("crop", "encode")
                             for name in scale.MODELS)], 0.001,
    )  # fmt: skip
    for role in scale.WIDTHS:
        found |= {f"{what}_{role}_bytes": 1000.0 for what in ("cache", "store")}
        found |= {f"{what}_{role}_s": 1e-6 for what in ("write", "read")}
    once, twice = (scale.scene(images, 50, found, 2.0) for images in (3_600_000, 7_200_000))
    assert once["both caches"] == "360 GB"
    assert once["student ViT-B/32, core hours"] == "50"
    assert twice["student ViT-B/32, core hours"] == "100"
    assert set(once) == set(twice)
    assert "| both caches | 128 GB | 2 TB |" in scale.tables(found, 2.0)


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="unpack"):
        replace_block(page, "bench.scale", "text")
    assert page.read_text() == "no marks"
