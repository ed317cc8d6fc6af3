"""A student with a Vision Transformer, for methods that prompt both towers.

The pair's student has an EfficientNet, which takes no prompt tokens. This one's image tower learns
from views of pretrain pictures to make of each what that EfficientNet and a projection make of it;
its text tower is a student's own, untouched. It is trained for two text towers at once, with an
output projection each: the pair's, told names rarely, and the small student's, told well.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import factory
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fdbpl.classify.decision import unit
from fdbpl.clip import small
from fdbpl.clip.model import ClipModel, load_model, quiet_about_random_start
from fdbpl.clip.params import ModelParams
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.clip.projection import last_projection
from fdbpl.clip.vectors import template_vectors
from fdbpl.system.files import canonical_json, write_whole
from fdbpl.system.progress import progress
from studies.photographs.distilling import Names, Recipe, train
from studies.photographs.models import halved, not_tested
from studies.photographs.parts import DATASETS, Picture, class_names, read_part
from studies.photographs.views import CUTS, SEED, Pixels, hidden

RARELY, WELL = "told rarely", "told well"
"""Whose text tower a student has: the pair's, or the packaged small student's."""

RECIPE = Recipe(seed=4, steps=8000, first=900)

Say = Callable[[str], None]
PROJECTION = f"{small.VISUAL}proj"


def params_of(weights: Path) -> ModelParams:
    """Return what a student with these weights is loaded by."""
    return ModelParams(architecture=small.VIT, weights=str(weights), activation="gelu")


def text_students(pair: Path) -> dict[str, ClipModel]:
    """Return the students with an EfficientNet by what their text towers were told.

    Args:
        pair: weights of the pair's student.
    """
    name = small.PAIR[0]
    rarely = ModelParams(architecture=name, weights=str(pair), activation="gelu")
    well = ModelParams(architecture=name, weights="small")
    return {RARELY: load_model(rarely, "student"), WELL: load_model(well, "student")}


def start(seed: int, heads: int, width: int) -> tuple[nn.Module, Preprocessing]:
    """Return a random image tower with projections (W, heads * width), and what it takes.

    Args:
        seed: of its weights.
        heads: text towers that it is trained for.
        width: D of their features.
    """
    small.register()
    with quiet_about_random_start(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower: Any = factory.create_model(small.VIT, load_weights=False).visual
        inner = tower.proj.shape[0]
        tower.proj = nn.Parameter(inner**-0.5 * torch.randn(inner, heads * width))
    about = tower.preprocess_cfg
    return tower, Preprocessing(
        tower.image_size[0],
        tuple(about["mean"]),
        tuple(about["std"]),
        about["interpolation"],
        about["resize_mode"],
    )


def trained_tower(
    photos: Path, out: Path, students: Mapping[str, ClipModel], recipe: Recipe, say: Say
) -> Path:
    """Return the file of the tower's tensors, trained unless that was done before.

    Args:
        photos: where the tar files lie; only pretrain pictures are seen, none that a test has too.
        out: holds all that is made; an interrupted training goes on from what is there.
        students: whose features it shall have, by name.
        recipe: how.
        say: told what was done.
    """
    made_by = canonical_json(
        {
            "configuration": small.config(small.VIT),
            "students": [one.identity["weights"] for one in students.values()],
            "views": [SEED, CUTS],
            **asdict(recipe),
        }
    )
    path = out / "vit" / f"tower-{hashlib.sha256(made_by).hexdigest()[:12]}.safetensors"
    if path.exists():
        return path
    kept = not_tested(photos, out, say)
    targets = np.stack(
        [features_of_view(photos, out, students, view, say)[kept] for view in range(1 + CUTS)]
    )
    pictures = [one for one, sees in zip(pretrain_pictures(photos), kept, strict=True) if sees]
    tower, preprocessing = start(recipe.seed, *targets.shape[2:])
    read = Pixels(pictures, 1 + CUTS, preprocessing, SEED)
    names = names_of(photos, students, kept)
    with progress(f"{small.VIT}: image tower") as report:
        train(tower, read, targets, names, recipe, path.with_suffix(".checkpoint"), report)
    write_whole(path, save({name: one.contiguous() for name, one in tower.state_dict().items()}))
    path.with_suffix(".checkpoint").unlink(missing_ok=True)
    say(
        f"{small.VIT}: image tower trained, {len(pictures):,} pictures, {recipe.steps:,} steps "
        f"of {recipe.batch} views"
    )
    return path


def pretrain_pictures(photos: Path) -> list[Picture]:
    """Return the pretrain pictures of all datasets, in the parts' order."""
    return [one for dataset in DATASETS for one in read_part(photos, dataset, "pretrain")]


def names_of(photos: Path, students: Mapping[str, ClipModel], kept: NDArray[np.bool_]) -> Names:
    """Return what the pretrain pictures that are `kept` (n) are told apart by."""
    by_dataset = [tuple(class_names(photos, one).values()) for one in DATASETS]
    texts = [
        np.concatenate(
            [
                template_vectors(student, names, about.template)
                for names, about in zip(by_dataset, DATASETS.values(), strict=True)
            ]
        )
        for student in students.values()
    ]
    places = {name: place for place, name in enumerate(DATASETS)}
    shown = [places[one.path.partition("/")[0]] for one in pretrain_pictures(photos)]
    return Names(
        torch.from_numpy(np.stack(texts)).float(),
        torch.tensor([student.logit_scale for student in students.values()]),
        np.repeat(np.arange(len(DATASETS)), [len(names) for names in by_dataset]),
        np.array(shown)[kept],
    )


def features_of_view(
    photos: Path, out: Path, students: Mapping[str, ClipModel], view: int, say: Say
) -> NDArray[np.float16]:
    """Return what students make of a view of all pretrain pictures: unit (n, K, D), in fp16."""
    before = hidden(photos, out, small.PAIR[0], view, SEED, say)
    found = [unit(before @ last_projection(one).numpy()) for one in students.values()]
    return np.stack(found, axis=1).astype(np.float16)


def image_tower(tower: Mapping[str, Tensor], head: int, width: int) -> dict[str, Tensor]:
    """Return an image tower's tensors with one of its projections, by open_clip's names, in fp16.

    Args:
        tower: with projections (W, K D) for several text towers.
        head: which of the projections.
        width: D.
    """
    image = {f"{small.VISUAL}{name}": tensor for name, tensor in tower.items()}
    image[PROJECTION] = image[PROJECTION][:, head * width : (head + 1) * width]
    return halved(image)


def make(photos: Path, out: Path, pair: Path, recipe: Recipe, say: Say) -> dict[str, Path]:
    """Return the weights of a student with a ViT for each text tower, made unless they are there.

    Args:
        photos: where the tar files lie.
        out: holds all that is made, the students below `vit`; in `small` the image tower of the one
            that was told well, as it is packaged.
        pair: weights of the pair's student.
        recipe: of the image tower.
        say: told what was done.

    Raises:
        UserError: there are no such weights of the pair's student.
    """
    students = text_students(pair)
    tower = load_file(trained_tower(photos, out, students, recipe, say))
    found = dict[str, Path]()
    for head, (told, student) in enumerate(students.items()):
        state = halved(student.network.state_dict())
        text = {name: one for name, one in state.items() if not name.startswith(small.VISUAL)}
        image = image_tower(tower, head, text["text_projection"].shape[1])
        found[told] = out / "vit" / f"{told.replace(' ', '-')}.safetensors"
        write_whole(found[told], save({**image, **text}))
        if told == WELL:
            write_whole(out / "small" / small.weights(small.VIT).name, save(image))
    return found
