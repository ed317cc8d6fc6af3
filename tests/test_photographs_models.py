"""Text towers of the study: made once, of pictures that no test has; and the command for it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from packed import drawn, jpeg, pack, pack_dataset
from safetensors import safe_open
from safetensors.torch import load_file

from fdbpl.clip import small
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from studies.photographs import __main__ as command
from studies.photographs import features, models
from studies.photographs.batches import Recipe
from studies.photographs.captions import class_subjects, imagenet_subjects
from studies.photographs.models import pictures, text_weights, whole_weights
from studies.photographs.parts import DATASETS, decode, read_part

STUDENT = small.PAIR[0]
RECIPE = Recipe(seed=1, steps=2, batch=4, imagenet=3)
CLASSES = ["cat_flap", "sea"]


def silent(line: str) -> None:
    """Be told, and say nothing."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two classes of every dataset, two pictures of them tested elsewhere too; few names."""
    folder = tmp_path_factory.mktemp("photos")
    for name in DATASETS:
        pack_dataset(folder, name, CLASSES, pretrain=1, test=1)
    again = {
        "dtd/test/sea/0000.jpg": next(read_part(folder, "cifar10", "pretrain")).data,
        "dtd/test/sea/0001.jpg": jpeg(decode(next(read_part(folder, "grocery", "pretrain"))), 60),
        "dtd/test/sea/0002.jpg": jpeg(drawn(1)),
    }
    pack(folder / "dtd.test.tar", again)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "BATCH", 2)
        patch.setattr(features, "encoder", lru_cache(features.encoder))
        patch.setattr(models, "imagenet_subjects", lambda: imagenet_subjects()[:5])
        yield folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def made(photos: Path, out: Path) -> Path:
    return text_weights(photos, out, STUDENT, RECIPE, silent)


def test_pictures_that_a_test_has_are_left_out(photos: Path, out: Path) -> None:
    found = pictures(photos, out, STUDENT, silent)
    subjects = class_subjects(photos)
    wanted = [(one.dataset, one.name) for one in subjects]
    wanted.remove(("cifar10", "cat flap"))
    wanted.remove(("grocery", "cat flap"))
    assert [(subjects[one].dataset, subjects[one].name) for one in found.labels] == wanted
    every = features.features(photos, "pretrain", STUDENT, out / "features")
    rows = np.concatenate([every[name] for name in DATASETS])
    left_out = [2 * list(DATASETS).index(name) for name in ("cifar10", "grocery")]
    np.testing.assert_array_equal(found.features, np.delete(rows, left_out, axis=0))


def test_the_logits_of_imagenet_are_the_tower_s_own_classifier_s(photos: Path, out: Path) -> None:
    found = pictures(photos, out, STUDENT, silent)
    weight, bias = (
        one.float().numpy() for one in small.imagenet_classifier("tf_efficientnet_lite0")
    )
    assert found.imagenet.shape == (len(found.labels), 1000)
    wanted = models.LENGTH * found.features @ weight.T + bias
    np.testing.assert_allclose(found.imagenet, wanted, atol=1e-3)


def test_weights_are_made_once_for_each_recipe(
    photos: Path, out: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, said = made.read_bytes(), list[str]()
    with safe_open(made, "pt") as file:
        assert '"steps":2' in file.metadata()["recipe"]
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    with monkeypatch.context() as patch:
        patch.setattr(models, "train", None)
        assert text_weights(photos, out, STUDENT, RECIPE, said.append) == made
        assert not said
        assert made.read_bytes() == kept
    other = text_weights(photos, out, STUDENT, replace(RECIPE, seed=2), said.append)
    assert other != made
    assert said == [f"{STUDENT}: text tower trained, 20 pictures, 2 steps"]


def test_whole_weights_are_those_of_any_file(made: Path, out: Path) -> None:
    path = whole_weights(made, STUDENT, out / "student.safetensors")
    params = ModelParams(architecture=STUDENT, weights=str(path), activation="gelu")
    clip = load_model(params, "student")
    assert (clip.mean, clip.std) == ((0.5,) * 3, (0.5,) * 3)
    state, own = clip.network.state_dict(), load_file(made)
    wanted = small.assemble(own, small.image_trunk("tf_efficientnet_lite0"))
    for name, tensor in wanted.items():
        assert torch.equal(state[name], tensor.half().to(state[name].dtype)), name


def test_a_picture_s_feature_is_the_projection_of_what_was_encoded(
    photos: Path, made: Path, out: Path
) -> None:
    path = whole_weights(made, STUDENT, out / "student.safetensors")
    params = ModelParams(architecture=STUDENT, weights=str(path), activation="gelu")
    encoder = ImageEncoder(load_model(params, "student"), precision="fp32", batch_size=2)
    hidden = features.features(photos, "pretrain", STUDENT, out / "features")["dtd"]
    found = hidden @ load_file(made)["visual.head.proj.weight"].float().numpy().T
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    shown = np.stack(
        [encoder.pixels(decode(one), None) for one in read_part(photos, "dtd", "pretrain")]
    )
    assert ((found * encoder.encode(shown)).sum(1) > 0.999).all()  # the whole is of fp16


def run(*words: str, code: int) -> str:
    result = CliRunner().invoke(command.main, words)
    assert result.exit_code == code, result.output
    return result.output


class Here:
    """A pool that works at once, in this process."""

    def submit(self, work: Callable[..., Any], *args: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(work(*args))
        return done


@contextmanager
def here(_: int) -> Iterator[Here]:
    yield Here()


def test_the_command_makes_all_models_and_says_whether_they_are_the_frozen_ones(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = [(model, RECIPE) for model in small.PAIR] + [(STUDENT, replace(RECIPE, seed=2))]
    monkeypatch.setattr(models, "TRAINED", trained)
    monkeypatch.setattr(models, "processes", here)
    monkeypatch.setattr(models, "token_vectors", lru_cache(models.token_vectors))
    words = ("--photos", str(photos), "--out", str(tmp_path), "--step", "models")
    said = run(*words, code=0)
    assert said.count("text tower trained, 20 pictures, 2 steps") == 3
    assert said.count("figures will differ") == 3
    made = [tmp_path / "pair" / "student.safetensors"]
    made += [tmp_path / "small" / f"{model}.safetensors" for model in small.PAIR]
    weights = [path.read_bytes() for path in made]
    assert len(set(weights)) == 3
    assert run(*words, code=0).splitlines() == said.splitlines()[-3:]  # all is found again
    assert [path.read_bytes() for path in made] == weights


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_photographs_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    photos, out = tmp_path / folder, tmp_path / "out"
    said = run("--photos", str(photos), "--out", str(out), "--step", "models", code=2)
    assert str(photos) in said
    assert not (out / "weights").exists()
