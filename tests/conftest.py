"""Small models, small datasets and the real photographs, for all tests."""

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import settings
from photo_cases import photo_case, photo_pair  # noqa: F401 - fixtures
from PIL import Image
from s3 import s3, s3_server  # noqa: F401 - fixtures
from safetensors.torch import save_file
from student_models import made_model, model_path, snapshots  # noqa: F401 - fixtures
from taught import class_pictures, taught  # noqa: F401 - fixtures

from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.params import ModelParams
from fdbpl.system.kept import PLACE

if TYPE_CHECKING:
    from projects import Project

os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect and MLflow send no usage figures
_KEPT = tempfile.TemporaryDirectory(prefix="fdbpl-kept-")  # for this session, its processes too
os.environ[PLACE] = os.environ.get("FDBPL_TESTS_KEPT") or _KEPT.name  # .ci/run's sessions share one
torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.load_profile("untimed")


def pytest_runtest_teardown() -> None:
    """Leave torch on one thread, whatever a test has set: others would slow all that follow."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


REAL = Path(__file__).resolve().parents[2] / "shared" / "real"

TEXT = {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}

MakeModel = Callable[..., ClipModel]


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real photographs, which lies beside the repository on some machines only."""
    if not REAL.is_dir():
        pytest.skip(f"no real photographs at {REAL}")
    return REAL


@pytest.fixture(scope="session")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that registers a small architecture with open_clip and returns its name."""
    folder = tmp_path_factory.mktemp("configs")

    def register(text: Mapping[str, Any] | None = None, **top: Any) -> str:
        config = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": {**TEXT, **(text or {})}}
        data = json.dumps({**config, **top}, sort_keys=True)
        name = f"test-{zlib.crc32(data.encode()):08x}"
        (folder / f"{name}.json").write_text(data)
        open_clip.add_model_config(folder / f"{name}.json")
        return name

    return register


@pytest.fixture(scope="session")
def random_state() -> Callable[..., dict[str, torch.Tensor]]:
    """A function that returns random weights of an architecture, large enough to matter."""

    def draw(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = open_clip.factory.create_model(name, load_weights=False)
            state = network.state_dict()
            for key, tensor in state.items():
                if key == "logit_scale":
                    tensor.fill_(3.0)
                elif "ln_" in key or key.endswith("gamma"):
                    tensor.copy_(1 + 0.3 * torch.randn_like(tensor))
                else:
                    tensor.copy_(torch.randn_like(tensor) * 0.15)
        return {key: tensor.clone() for key, tensor in state.items()}

    return draw


@pytest.fixture(scope="session")
def make_model(
    tmp_path_factory: pytest.TempPathFactory,
    architecture: Callable[..., str],
    random_state: Callable[..., dict[str, torch.Tensor]],
) -> MakeModel:
    """A function that loads a small model from weights saved with random values."""
    folder = tmp_path_factory.mktemp("weights")
    made: dict[tuple[str, str, int], ClipModel] = {}

    def make(
        text: Mapping[str, Any] | None = None,
        *,
        activation: str = "gelu",
        seed: int = 0,
        **top: Any,
    ) -> ClipModel:
        name = architecture(text, **top)
        if (name, activation, seed) not in made:
            path = folder / f"{name}-{seed}.safetensors"
            save_file(random_state(name, seed), path)
            params = ModelParams(architecture=name, weights=str(path), activation=activation)
            made[name, activation, seed] = load_model(params, "student")
        return made[name, activation, seed]

    return make


@pytest.fixture(scope="session")
def clip(make_model: MakeModel) -> ClipModel:
    """A causal CLIP text tower of width 64 and 2 layers, and a small vision tower."""
    return make_model()


def draw_image(path: Path, seed: int, size: tuple[int, int] = (24, 18)) -> None:
    """Save a PNG of one random colour with a little noise, decided by `seed`."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-20, 21, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(rng.integers(0, 256, 3) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def draw_folder(folder: Path, classes: Mapping[str, tuple[int, int]]) -> Path:
    """Fill a plain dataset folder: class name to (training images, test images)."""
    for name, counts in classes.items():
        for part, count in zip(("train", "test"), counts, strict=True):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                key = f"{part}/{name}/{index}"
                draw_image(folder / part / name / f"{index:02}.png", zlib.crc32(key.encode()))
    return folder


def write_split(path: Path, **parts: list[list[Any]]) -> Path:
    """Write a split file of CoOp's kind; parts not given are empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"train": [], "val": [], "test": [], **parts}))
    return path


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random float32 vectors of length 1 along the last axis."""
    x = rng.standard_normal(shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: Callable[..., str],
    random_state: Callable[..., dict[str, Any]],
) -> "Project":
    """A user's project in an empty folder, which is the working one."""
    from projects import Project  # which draws its pictures by this module

    monkeypatch.chdir(tmp_path)
    name = architecture()
    return Project(tmp_path, name, random_state(name))


@pytest.fixture
def done(project: "Project") -> "Project":
    """A project all of whose stages were run by hand."""
    project.said = project.all_stages()
    return project
