"""Cached training against both image towers at every step, which is the field's plain way."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeModel, draw_folder
from kinds import FROM_FEATURES
from torch import Tensor

from fdbpl.cache import RegionStore, build_cache, open_cache
from fdbpl.classify.artifact import Artifact
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.clip.vectors import template_vectors
from fdbpl.data.images import ChangedImage
from fdbpl.data.readers.folder import read_folder
from fdbpl.data.splits import halve
from fdbpl.methods.features import CachedColumn, FeatureSource, PairedFeatures, Teacher
from fdbpl.methods.method import Batch
from fdbpl.methods.params import TrainParams
from fdbpl.methods.prompts import starting_contexts
from fdbpl.methods.region_pairs import RegionPairs
from fdbpl.methods.registry import find_method
from fdbpl.methods.training_data import TrainingData
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan
from fdbpl.settings.params import check_params
from fdbpl.stages import run_stage
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import Learned, learn_method, text_encoder
from fdbpl.training.online import OnlineTower

STEPS = 20


@dataclass(frozen=True)
class Setting:
    """A plan, both models, and the three sources of their features."""

    plan: Plan
    folder: Path
    student: ClipModel
    teacher: ClipModel
    online: FeatureSource
    whole: FeatureSource
    half: FeatureSource


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, make_model: MakeModel) -> Setting:
    root = tmp_path_factory.mktemp("online")
    models = {"student": make_model(seed=1), "teacher": make_model(seed=2)}
    folder = draw_folder(root / "images", {"red cat": (8, 1), "owl": (8, 1), "sea": (8, 1)})
    dataset = read_folder("small", folder, "a photo of a {}.")
    plan = make_plan(dataset, regions=RegionParams(per_image=5), shots=8, seeds=[1])
    store = RegionStore(str(root / "store"))

    def column(role: str, dtype: str) -> CachedColumn:
        encoder = ImageEncoder(models[role], precision="fp32", batch_size=16)
        place = root / f"{role}-{dtype}"
        build_cache(
            plan, folder, encoder, store, place,
            kind=role, model={}, payload=dtype,
        )  # fmt: skip
        return CachedColumn(torch.from_numpy(open_cache(place).features("train")))

    towers = [
        OnlineTower(plan, folder, ImageEncoder(clip, precision="fp32", batch_size=8))
        for clip in models.values()
    ]
    return Setting(
        plan,
        folder,
        **models,
        online=PairedFeatures(*towers),
        whole=PairedFeatures(*(column(role, "float32") for role in models)),
        half=PairedFeatures(*(column(role, "float16") for role in models)),
    )


def data_of(setting: Setting, features: FeatureSource) -> TrainingData:
    plan = setting.plan
    names = [plan.class_names[label] for label in halve(plan.labels)[0]]
    vectors = template_vectors(setting.teacher, names, plan.template)
    return TrainingData(
        clip=setting.student,
        names=names,
        picks={1: np.asarray(plan.shots[1])},
        labels=torch.from_numpy(plan.images["label"].astype(np.int64)),
        regions=RegionPairs(
            features, plan.crops, lambda rows: torch.from_numpy(plan.areas(rows.numpy()))
        ),
        teacher=Teacher(torch.from_numpy(vectors), setting.teacher.logit_scale),
        text=text_encoder(setting.student, names),
        anchors=torch.from_numpy(template_vectors(setting.student, names, plan.template)),
    )


def run(setting: Setting, method: str, features: FeatureSource) -> Learned:
    params = TrainParams(lr=0.1, epochs=STEPS // 2, batch=8)
    return learn_method(find_method(method), data_of(setting, features), params)[1]


def start_of(setting: Setting, method: str) -> Tensor:
    return torch.stack(starting_contexts(setting.student, find_method(method).starts))


@pytest.mark.parametrize("method", FROM_FEATURES)
def test_cached_training_equals_training_with_both_towers_online(
    setting: Setting, method: str
) -> None:
    cached, online = run(setting, method, setting.whole), run(setting, method, setting.online)
    start = find_method(method).start(data_of(setting, setting.whole), 1).learned
    for name, values in start.items():
        assert not np.allclose(cached.arrays[name], values.numpy(), rtol=1e-3), name
    assert cached.arrays.keys() == online.arrays.keys()
    for name, values in cached.arrays.items():
        np.testing.assert_allclose(values, online.arrays[name], rtol=1e-5, atol=1e-6)
    for name, values in cached.history["terms"].items():
        told = online.history["terms"][name]
        np.testing.assert_allclose(values, told, rtol=1e-5, atol=1e-6)


def stepwise(setting: Setting, method: str, features: FeatureSource) -> list[tuple[float, Tensor]]:
    """Loss and gradient at each of 20 points of one path, which the online way walks."""
    learned, data = find_method(method), data_of(setting, features)
    found: list[tuple[float, Tensor]] = []
    point = start_of(setting, method)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randint(len(setting.plan.regions), (32,), generator=generator)
        student, teacher = features(rows)
        labels = data.labels[rows // setting.plan.crops]
        leaf = point.clone().requires_grad_()
        batch = Batch(student, data.teacher.log_probabilities(teacher), labels, data.anchors)
        loss = sum(learned.objective(batch, data.text(leaf), data.scale).values())
        (gradient,) = torch.autograd.grad(loss, leaf)
        found.append((loss.item(), gradient))
        point = point + 0.02 * torch.randn(point.shape, generator=generator)
    return found


@pytest.mark.parametrize(("source", "on_loss", "on_gradient"), [
    ("whole", 1e-5, 1e-5), ("half", 1e-4, 1e-3),
])  # fmt: skip
def test_every_loss_and_gradient_is_the_online_one(
    setting: Setting, source: str, on_loss: float, on_gradient: float
) -> None:
    wanted = stepwise(setting, "paper", setting.online)
    found = stepwise(setting, "paper", getattr(setting, source))
    for (loss, gradient), (online_loss, online_gradient) in zip(found, wanted, strict=True):
        assert abs(loss - online_loss) < on_loss * abs(online_loss)
        assert (gradient - online_gradient).norm() < on_gradient * online_gradient.norm()


def test_regions_come_back_in_the_shape_and_order_of_the_rows(setting: Setting) -> None:
    rows = torch.tensor([[7, 0, 3], [3, 39, 7]])
    for online, cached in zip(setting.online(rows), setting.whole(rows), strict=True):
        assert online.shape == (2, 3, 32)
        assert (online - cached).abs().max() < 1e-6
        assert torch.equal(online[0, 2], online[1, 0])


def test_an_image_that_changed_since_the_plan_is_refused(setting: Setting, tmp_path: Path) -> None:
    copy = draw_folder(tmp_path, {"red cat": (8, 1), "owl": (8, 1), "sea": (8, 1)})
    path = copy / setting.plan.paths[0]
    path.write_bytes(path.read_bytes() + b" ")
    tower = OnlineTower(
        setting.plan, copy, ImageEncoder(setting.student, precision="fp32", batch_size=8)
    )
    with pytest.raises(ChangedImage, match="run prepare-crops again"):
        tower(torch.tensor([0]))


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., dict[str, np.ndarray]]:
    """A function that trains by the stage, and returns the learned contexts."""
    folder = draw_folder(tmp_path / "mine", dict.fromkeys(("cat", "owl", "sea", "sky"), (4, 1)))
    work = Workspace(tmp_path)

    def trained(
        mode: str, features: str, *, cache: bool = False, memory_mb: int = 64
    ) -> dict[str, np.ndarray]:
        params = check_params(
            {
                "datasets": ["mine"],
                "methods": ["kdpl", "fdbpl"],
                "seeds": [1, 2],
                "shots": 4,
                "regions": {"per_image": 2},
                "data": {"own": {"mine": {"folder": str(folder)}}},
                "student": {
                    "architecture": "fdbpl-tiny-student", "weights": "tiny", "features": features
                },
                "teacher": {
                    "architecture": "fdbpl-tiny-teacher", "weights": "tiny", "mode": mode
                },
                "cache": {
                    "payload": "float32", "store": str(tmp_path / "store"), "batch": 8,
                    "memory_mb": memory_mb,
                },
                "train": {"epochs": 3, "batch": 4, "lr": 0.1},
                "device": "cpu",
            }
        )  # fmt: skip
        run_stage("prepare_crops", params, work, "mine")
        if cache:
            run_stage("cache_teacher", params, work, "mine")
        run_stage("train_student", params, work, "mine")
        return {
            f"{method} {seed} {side}": vectors
            for method in params.methods
            for seed in params.seeds
            for side, vectors in Artifact.load(
                work.learned("mine", "all-classes", method, seed, "prompts"), "prompts"
            ).arrays.items()
        }

    return trained


def test_the_stage_learns_the_same_in_every_mode(stage) -> None:
    without_any_cache = stage("online", "online")
    cached = stage("cached", "cached", cache=True)
    for found in (without_any_cache, stage("online", "cached"), stage("cached", "online")):
        assert found.keys() == cached.keys()
        for name, vectors in cached.items():
            off = 1e-6 * max(1.0, float(np.abs(vectors).max()))  # a memory's numbers are large
            np.testing.assert_allclose(found[name], vectors, rtol=1e-4, atol=off)


def test_only_what_is_online_needs_no_cache(stage) -> None:
    with pytest.raises(UserError, match="teacher"):
        stage("cached", "online")
    with pytest.raises(UserError, match="student"):
        stage("online", "cached")


def test_the_stage_learns_exactly_the_same_from_streams(stage) -> None:
    held = stage("cached", "cached", cache=True)
    streamed = stage("cached", "cached", memory_mb=0)
    assert streamed.keys() == held.keys()
    for name, vectors in held.items():
        assert vectors.tobytes() == streamed[name].tobytes(), name
