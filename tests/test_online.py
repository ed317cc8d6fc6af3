"""Cached training against both image towers at every step, which is the field's plain way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeModel, draw_folder
from PIL import Image

from fdbpl.benchmarks.folder import read_folder
from fdbpl.cache import RegionStore, build_cache, open_cache
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.features import CachedFeatures, Teacher
from fdbpl.learning import starting_contexts, template_vectors, text_encoder
from fdbpl.methods.names import TRAINED
from fdbpl.methods.table import trained_method
from fdbpl.params import RegionParams, TrainParams
from fdbpl.plan import Plan
from fdbpl.planning import make_plan
from fdbpl.training import Task, Trained, train

STEPS = 20


def tower_online(clip: ClipModel, plan: Plan, folder: Path) -> Callable[..., torch.Tensor]:
    """Crop, resize and encode the batch's regions anew, as KDPL does at every step."""

    def features(rows: torch.Tensor) -> torch.Tensor:
        pixels = []
        for region in plan.regions[rows.flatten().numpy()]:
            with Image.open(folder / plan.paths[region["image"]]) as image:
                crop = image.convert("RGB").crop(tuple(region["box"].tolist()))
            crop = crop.resize((clip.image_size,) * 2, Image.Resampling.BICUBIC)
            if region["flip"]:
                crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            colours = torch.from_numpy(np.array(crop)).permute(2, 0, 1) / 255
            mean, std = (torch.tensor(x)[:, None, None] for x in (clip.mean, clip.std))
            pixels.append((colours - mean) / std)
        with torch.no_grad():
            found = clip.network.encode_image(torch.stack(pixels), normalize=True)
        return found.reshape(*rows.shape, -1)

    return features


@pytest.mark.parametrize("method", TRAINED)
def test_cached_training_equals_training_with_both_towers_online(
    tmp_path: Path, make_model: MakeModel, method: str
) -> None:
    student, teacher = make_model(seed=1), make_model(seed=2)
    folder = draw_folder(tmp_path / "images", {"red cat": (8, 1), "owl": (8, 1), "sea": (8, 1)})
    dataset = read_folder("small", folder, "a photo of a {}.")
    plan = make_plan(dataset, regions=RegionParams(per_image=5), shots=8, seeds=[1])
    store = RegionStore(str(tmp_path / "store"))
    cached = {}
    for role, clip in (("teacher", teacher), ("student", student)):
        encoder = ImageEncoder(clip, precision="fp32", batch_size=16)
        build_cache(
            plan, folder, encoder, store, tmp_path / role,
            kind=role, model={}, policy=plan.policy, dtype="float32",
        )  # fmt: skip
        cached[role] = torch.from_numpy(open_cache(tmp_path / role).column("train"))
    names = [plan.class_names[label] for label in plan.base]
    learned = trained_method(method)
    images = np.asarray(plan.shots[1])
    params = TrainParams(lr=0.1, epochs=STEPS // 2, batch=8)

    def run(features: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> Trained:
        task = Task(
            labels=torch.from_numpy(plan.images["label"].astype(np.int64)),
            crops=plan.crops,
            features=features,
            teacher=Teacher(
                torch.from_numpy(template_vectors(teacher, names, plan.template)),
                teacher.logit_scale,
            ),
            text=text_encoder(student, names),
            scale=student.logit_scale,
            anchors=torch.from_numpy(template_vectors(student, names, plan.template)),
        )
        start = starting_contexts(student, learned)
        return train(learned.objective, start, task, params, {1: images})[1]

    with_cache = run(CachedFeatures(cached["student"], cached["teacher"]))
    see, know = tower_online(student, plan, folder), tower_online(teacher, plan, folder)
    with_towers = run(lambda rows: (see(rows), know(rows)))
    assert not torch.allclose(with_cache.contexts, starting_contexts(student, learned), rtol=1e-3)
    torch.testing.assert_close(with_cache.contexts, with_towers.contexts, rtol=1e-5, atol=1e-6)
    for name, values in with_cache.terms.items():
        np.testing.assert_allclose(values, with_towers.terms[name], rtol=1e-5, atol=1e-6)
