from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packed import drawn, jpeg, pack, pack_dataset, photos  # noqa: F401 - a fixture
from PIL import Image, ImageEnhance, ImageOps

from fdbpl.system.errors import UserError
from studies.photographs import leaks as module
from studies.photographs.leaks import (
    BITS,
    Leaks,
    all_leaks,
    compare,
    differences,
    fingerprints,
    hashes,
    leaks,
)
from studies.photographs.parts import DATASETS, Picture, read_part

COUNT = 30
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: image,
    "enlarged": lambda image: image.resize((150, 120), Image.Resampling.BICUBIC),
    "mirrored": ImageOps.mirror,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


def prints(seeds: range, change: Callable[[Image.Image], Image.Image]) -> module.Fingerprints:
    return fingerprints(
        Picture(f"dtd/test/dots/{seed}.jpg", 0, jpeg(change(drawn(seed)), 60)) for seed in seeds
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_is_found_again_however_it_was_saved(change: str) -> None:
    trained = prints(range(COUNT), lambda image: image)
    test = prints(range(COUNT // 2, 2 * COUNT), CHANGES[change])
    found = compare(test, trained)
    known = [f"dtd/test/dots/{seed}.jpg" for seed in range(COUNT // 2, COUNT)]
    if change == "as it is":
        assert found == Leaks(len(known), ())
    else:
        assert found.exact == 0
        assert [(one, other) for one, other, _ in found.near] == [*zip(known, known, strict=True)]
        assert all(bits <= BITS for *_, bits in found.near)


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    trained, test = prints(range(COUNT), ImageOps.mirror), prints(range(5, 50), ImageOps.grayscale)
    whole = compare(test, trained)
    assert whole.near
    monkeypatch.setattr(module, "CHUNK", chunk)
    assert compare(test, trained) == whole


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 1), st.integers(0, 100))
def test_brightness_and_contrast_change_no_picture(seed: int, factor: float, lift: int) -> None:
    small = np.random.default_rng(seed).integers(0, 150, (2, 32, 32), np.uint8)
    other = np.rint(small * factor + lift).astype(np.uint8)
    apart = np.bitwise_count(hashes(small) ^ hashes(other))
    assert apart.max() <= BITS
    assert differences(small, other).max() < 0.05
    assert differences(small, small[::-1]).min() > 0.5
    assert np.bitwise_count(hashes(small[:1]) ^ hashes(small[1:]))[0] > BITS


def test_of_several_the_nearest_is_told() -> None:
    test, same = prints(range(1), ImageOps.mirror), prints(range(1), lambda image: image)
    blurred = prints(range(1), lambda image: image.resize((8, 8)))
    both = module.Fingerprints(
        ("blurred", "same"),
        blurred.digests + same.digests,
        np.concatenate([blurred.small, same.small]),
    )
    assert [other for _, other, _ in compare(test, both).near] == ["same"]


def test_nothing_leaks_from_nothing() -> None:
    nothing, some = fingerprints(()), prints(range(3), lambda image: image)
    assert compare(some, nothing) == compare(nothing, some) == Leaks(0, ())
    other = replace(some, small=255 - some.small, digests=("x", "y", "z"))
    assert compare(some, other) == Leaks(0, ())


def test_a_dataset_s_test_is_compared_with_every_dataset(tmp_path: Path) -> None:
    """Each is tested on what the next was trained on, drawn larger."""
    for seed, dataset in enumerate(DATASETS):
        pack_dataset(tmp_path, dataset, ["dots"], pretrain=0, test=0)
        for part, image in (
            ("pretrain", drawn(seed)),
            ("test", drawn((seed + 1) % len(DATASETS), (96, 80))),
        ):
            path = f"{dataset}/{part}/dots/0000.jpg"
            pack(tmp_path / f"{dataset}.{part}.tar", {path: jpeg(image)})
    found = all_leaks(tmp_path)
    names = list(DATASETS)
    assert {name: [other.split("/")[0] for _, other, _ in found[name].near] for name in names} == {
        name: [after] for name, after in zip(names, [*names[1:], names[0]], strict=True)
    }
    assert leaks(tmp_path, "dtd") == found["dtd"]
    with pytest.raises(UserError, match=r"train\.tar: no such file"):
        leaks(tmp_path, "dtd", "train")


def test_pre_training_saw_no_test_picture_of_textures(photos: Path) -> None:  # noqa: F811
    test, trained = (fingerprints(read_part(photos, "dtd", part)) for part in ("test", "pretrain"))
    found = compare(test, trained)
    assert found.exact == 0
    assert len(found.near) <= 1
