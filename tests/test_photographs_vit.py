"""Students with a ViT: made once, loaded as any other, prompted in both towers, measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from coloured import Colours
from packed import pack_dataset
from safetensors.torch import load_file, save_file

from fdbpl.clip import small
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.projection import last_projection
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.clip.vectors import template_vectors
from studies.photographs import __main__ as command
from studies.photographs import features, views, vit, vit_measures
from studies.photographs.both_towers import prompted_students
from studies.photographs.distilling import Recipe
from studies.photographs.parts import DATASETS
from studies.photographs.vit import RARELY, WELL, make, params_of

RECIPE = Recipe(seed=1, steps=2, batch=3)
CLASSES = ["cat_flap", "sea"]
NAMES = ("cat flap", "sea")


def silent(line: str) -> None:
    """Be told, and say nothing."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two classes of every dataset, a picture of each in both parts; few views a step."""
    folder = tmp_path_factory.mktemp("photos")
    for name in DATASETS:
        pack_dataset(folder, name, CLASSES, pretrain=1, test=1)
    with pytest.MonkeyPatch.context() as patch:
        for module in (features, views):
            patch.setattr(module, "encoder", lambda model: Colours())
        patch.setattr(vit, "RECIPE", RECIPE)
        yield folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a student that sees and says other things than the packaged one."""
    path = tmp_path_factory.mktemp("pair") / "student.safetensors"
    state = small.state(small.PAIR[0])
    for name in ("text_projection", "visual.head.proj.weight"):
        state[name] = state[name].flip(0)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def made(photos: Path, pair: Path, out: Path) -> dict[str, Path]:
    return make(photos, out, pair, RECIPE, silent)


@pytest.fixture(scope="module")
def clips(made: dict[str, Path]) -> dict[str, ClipModel]:
    return {told: load_model(params_of(path), "student") for told, path in made.items()}


def test_the_text_towers_are_the_students_own(clips: dict[str, ClipModel], pair: Path) -> None:
    assert list(clips) == [RARELY, WELL]
    for told, student in vit.text_students(pair).items():
        found, wanted = (
            template_vectors(one, NAMES, "a photo of a {}.") for one in (clips[told], student)
        )
        np.testing.assert_allclose(found, wanted, atol=2e-3)
        assert clips[told].logit_scale == pytest.approx(student.logit_scale, rel=1e-3)


def test_towers_differ_in_their_projections_alone(clips: dict[str, ClipModel], out: Path) -> None:
    (tower,) = (out / "vit").glob("tower-*.safetensors")
    proj = load_file(tower)["proj"]
    joined = torch.cat([last_projection(one) for one in clips.values()], dim=1)
    assert torch.equal(joined, proj.half().float())
    rarely, well = (
        {
            name: tensor
            for name, tensor in one.network.get_submodule("visual").state_dict().items()
            if name != "proj"
        }
        for one in clips.values()
    )
    assert all(torch.equal(tensor, well[name]) for name, tensor in rarely.items())


def test_its_image_tower_takes_prompts(clips: dict[str, ClipModel]) -> None:
    clip, rng = clips[WELL], torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, 3, 64, 64, generator=rng)
    tower = PromptedImage(clip)
    activations = tower.activations(pixels)
    width = activations.shape[-1]
    with torch.no_grad():
        plain = tower(torch.empty(1, 0, 0, width), activations)
        own = torch.nn.functional.normalize(clip.network.encode_image(pixels[0]), dim=-1)
    torch.testing.assert_close(plain[0], own, atol=1e-5, rtol=1e-4)
    prompts = torch.randn(1, 6, 2, width, generator=rng).requires_grad_()
    prompted = tower(prompts, activations)
    assert not torch.allclose(prompted, plain, atol=1e-3)
    prompted.sum().backward()
    assert prompts.grad is not None
    assert prompts.grad.abs().sum(-1).min() > 0


def test_what_was_trained_is_found_again(
    photos: Path, pair: Path, out: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, said = {told: path.read_bytes() for told, path in made.items()}, list[str]()
    monkeypatch.setattr(vit, "train", None)
    again = make(photos, out, pair, RECIPE, said.append)
    assert not said
    assert {told: path.read_bytes() for told, path in again.items()} == kept
    assert not list((out / "vit").glob("*.checkpoint"))


def test_seeds_decide_every_byte(
    photos: Path, pair: Path, out: Path, made: dict[str, Path], tmp_path: Path
) -> None:
    kept = {told: path.read_bytes() for told, path in made.items()}
    for name in ("features", "also_tested.json"):
        (tmp_path / name).symlink_to(out / name)
    again = make(photos, tmp_path, pair, RECIPE, silent)
    assert {told: path.read_bytes() for told, path in again.items()} == kept
    other = make(photos, tmp_path, pair, Recipe(seed=2, steps=2, batch=3), silent)
    assert all(path.read_bytes() != kept[told] for told, path in other.items())


@pytest.fixture(scope="module")
def measured(photos: Path, pair: Path, out: Path, made: dict[str, Path]) -> Any:
    return vit_measures.measures(photos, out, pair, made, silent)


def test_every_test_part_is_measured(measured: Any) -> None:
    assert list(measured["students"]) == [RARELY, WELL]
    for one in (measured["teacher"], *(one["vit"] for one in measured["students"].values())):
        assert list(one) == list(DATASETS)
        for cell in one.values():
            assert (cell["base"], cell["new"]) == (100, 100)  # a class each
            assert set(cell["joint"].values()) <= {0, 100}
    cosines = measured["students"][WELL]["cosine"]
    assert all(-1 <= one <= 1 for one in cosines.values())


def test_the_page_tells_what_was_measured(measured: Any) -> None:
    title, about, table, *judged = prompted_students(measured)
    assert title.startswith("## ")
    assert "64 pixels, patches of 16, 6 layers of width 192" in about
    assert len(table.splitlines()) == 2 + len(DATASETS)
    assert len(judged) == 4  # what is judged, and the table, for both text towers
    assert "CoOp" not in "".join(judged)


def test_the_command_makes_and_measures(photos: Path, pair: Path, out: Path, measured: Any) -> None:
    target = out / "pair" / "student.safetensors"
    target.parent.mkdir()
    target.symlink_to(pair)
    words = ["--photos", str(photos), "--out", str(out), "--step", "vit"]
    result = CliRunner().invoke(command.main, words)
    assert result.exit_code == 0, result.output
    path = out / "vit" / "measures.json"
    assert result.output.splitlines()[-1] == f"Written: {path}"
    assert json.loads(path.read_text()) == measured == vit_measures.measures_in(out)
    assert vit_measures.measures_in(out / "elsewhere") is None
