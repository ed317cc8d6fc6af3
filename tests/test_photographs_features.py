"""Features of photographs before any projection: each picture's own, encoded once."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from packed import pack_dataset
from PIL import Image

from fdbpl.clip import small
from studies.photographs import features as module
from studies.photographs.features import encoder, features, tower_of
from studies.photographs.parts import DATASETS, Picture, decode, read_part

STUDENT, TEACHER = small.PAIR
TWO = {name: DATASETS[name] for name in ("dtd", "rsscn7")}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Five pictures of each of two datasets; batches of two, files of four, one tower."""
    folder = tmp_path_factory.mktemp("photos")
    for name in TWO:
        pack_dataset(folder, name, ["a", "b", "c", "d", "e"], pretrain=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DATASETS", TWO)
        patch.setattr(module, "BATCH", 2)
        patch.setattr(module, "CHUNK", 4)
        patch.setattr(module, "encoder", lru_cache(encoder))
        yield folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was encoded in one go."""
    folder = tmp_path_factory.mktemp("whole")
    said = list[str]()
    features(photos, "pretrain", STUDENT, folder, said.append)
    assert [line.split(":")[0] for line in said] == list(TWO)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_features_are_those_of_each_picture_alone(photos: Path, whole: Path) -> None:
    found = features(photos, "pretrain", STUDENT, whole)
    assert list(found) == list(TWO)
    tower = module.encoder(STUDENT)
    for name, rows in found.items():
        assert (rows.dtype, rows.shape) == (np.float32, (5, 1280))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        for row, picture in zip(rows, read_part(photos, name, "pretrain"), strict=True):
            plain = tower.encode(tower.pixels(decode(picture), None)[None])[0]
            np.testing.assert_allclose(row, plain, rtol=1e-3, atol=1e-5)  # fp16


@pytest.mark.parametrize("model", small.PAIR)
def test_a_tower_is_the_package_s_own(model: str) -> None:
    plain = timm.create_model(tower_of(model), pretrained=False).eval()
    names, (weight, bias) = list(plain.state_dict()), small.imagenet_classifier(tower_of(model))
    own = {
        name.removeprefix(small.TRUNK): t for name, t in small.image_trunk(tower_of(model)).items()
    }
    assert names[: len(own)] == list(own)
    plain.load_state_dict({**own, "classifier.weight": weight, "classifier.bias": bias})
    tower = encoder(model)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 160, 160)).astype(np.float32)
    with torch.no_grad():
        wanted = plain.forward_head(plain.forward_features(torch.from_numpy(pixels)), True)
    wanted = torch.nn.functional.normalize(wanted, dim=1).numpy()
    np.testing.assert_allclose(tower.encode(pixels), wanted, atol=1e-5)
    assert (tower.clip.mean, tower.clip.std) == ((0.5,) * 3, (0.5,) * 3)


def test_what_was_encoded_is_not_encoded_again(
    photos: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = files(whole)
    monkeypatch.setattr(module, "encoder", None)
    features(photos, "pretrain", STUDENT, whole)
    assert files(whole) == kept
    assert {Path(name).parent.name for name in kept} == {"dtd-pretrain", "rsscn7-pretrain"}


@pytest.mark.parametrize(("stopped", "kept"), [(3, 0), (4, 4), (7, 5)])
def test_an_interrupted_encoding_ends_in_the_same_features(
    photos: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped: int,
    kept: int,
) -> None:
    """Of the file that was begun alone is anything lost: of the files of a dataset, 4 and 1."""
    decoded, most = list[str](), stopped

    def decode_some(picture: Picture) -> Image.Image:
        if len(decoded) == most:
            raise KeyboardInterrupt
        decoded.append(picture.path)
        return decode(picture)

    monkeypatch.setattr(module, "decode", decode_some)
    with pytest.raises(KeyboardInterrupt):
        features(photos, "pretrain", STUDENT, tmp_path)
    most = stopped + 10 - kept
    features(photos, "pretrain", STUDENT, tmp_path)
    assert len(decoded) == most
    assert files(tmp_path) == files(whole)
