"""Training on another device: nothing stays behind, and nothing is waited for.

PyTorch's "meta" device has shapes and places but no numbers: it refuses operands that lie
elsewhere, and every way of bringing a number back, as a GPU would have to wait for it. What a GPU
computes is compared where there is one.
"""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit
from kinds import TRAINED, contexts
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.clip.shared_prefix import SharedPrefixText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.clip.vectors import class_vectors, template_vectors
from fdbpl.methods.features import CachedColumn, PairedFeatures, Teacher
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.params import TrainParams
from fdbpl.methods.region_pairs import RegionPairs
from fdbpl.methods.registry import find_method
from fdbpl.methods.training_data import TrainingData
from fdbpl.system.device import resident
from fdbpl.training.learning import learn
from fdbpl.training.loop import train

META = torch.device("meta")
NAMES = ("cat", "dog", "sea side", "maltese puppy")
CROPS, IMAGES, WIDTH = 3, 8, 24
PARAMS = TrainParams(epochs=3, batch=4)
EVERY_TERM = {
    "weight": "entropy",
    "rejection_weight": 1.0,
    "mutual_weight": 1.0,
    "first_weight": 1.0,
    "second_weight": 1.0,
}
BOTH_TOWERS = ("ivlp", "maple", "promptsrc", "promptkd", "fdbpl_vision")
CASES = [*((name, None) for name in (*TRAINED, "tcp", *BOTH_TOWERS)), ("fdbpl_prompts", EVERY_TERM)]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")


@pytest.fixture
def there(clip: ClipModel) -> ClipModel:
    """A model whose text tower is on the meta device."""
    network = copy.deepcopy(clip.network)
    moved = replace(clip, network=network)
    moved.move_text("meta")
    return moved


def test_the_text_tower_moves_alone(clip: ClipModel, there: ClipModel) -> None:
    assert clip.text_device.type == "cpu"
    assert there.text_device == META
    tower = there.text_tower
    own = {
        name: tensor
        for name, tensor in (*tower.named_parameters(), *tower.named_buffers())
        if not name.startswith("visual.")
    }
    assert "attn_mask" in own
    assert {tensor.device for tensor in own.values()} == {META}
    visual = there.network.get_submodule("visual")
    assert {tensor.device.type for tensor in visual.state_dict().values()} == {"cpu"}
    names = [name for name, _ in clip.network.named_parameters()]
    assert [name for name, _ in there.network.named_parameters()] == names
    assert not any(parameter.requires_grad for parameter in there.network.parameters())


def test_a_tower_that_came_back_encodes_as_before(make_model, random_state) -> None:
    clip = make_model()
    before = template_vectors(clip, NAMES, "a photo of a {}.")
    clip.move_text("cpu")
    assert np.array_equal(template_vectors(clip, NAMES, "a photo of a {}."), before)


def data_there(there: ClipModel, *, resident: bool) -> TrainingData:
    """Data of which all that objectives may ask for is known."""
    rng = np.random.default_rng(0)
    regions, classes = IMAGES * CROPS, len(NAMES)

    def column(width: int) -> CachedColumn:
        values = torch.from_numpy(unit(rng, regions, width))
        return CachedColumn(values.to(META) if resident else values)

    return TrainingData(
        clip=there,
        names=NAMES,
        picks={seed: np.arange(IMAGES) for seed in (1, 2)},
        labels=torch.arange(IMAGES) % classes,
        regions=RegionPairs(
            PairedFeatures(column(32), column(WIDTH), META),
            CROPS,
            CachedColumn(torch.rand(regions, generator=torch.Generator().manual_seed(0))),
        ),
        teacher=Teacher(torch.from_numpy(unit(rng, classes, WIDTH)).to(META), 18.7),
        text=SharedPrefixText(there.text_tower, tokenize_prompts(there, POSITIVE, NAMES)),
        anchors=torch.empty(classes, 32, device=META),
        pixels=lambda rows: torch.zeros(*rows.shape, 3, 32, 32, dtype=torch.uint8),
        image_tower=lambda layer: PromptedImage(image_there(there), first=layer),
        ensemble=torch.empty(classes, 32, device=META),
    )


def image_there(there: ClipModel) -> ClipModel:
    """The model with its image tower there, too."""
    there.network.get_submodule("visual").to(META)
    return there


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices, which some kernels would wait for.

    Only copies are free, and numbers that stand for themselves.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        operands = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
        places = {operand.device.type for operand in operands}
        assert len(places) < 2 or func is torch.ops.aten.copy_.default, (func, places)
        return func(*args, **(kwargs or {}))


class OutcomeFetchedError(Exception):
    """The last step is done, and its outcome is fetched."""


@pytest.fixture
def outcome_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the training's only look at its numbers raise, so that no other can hide behind it."""
    cpu = Tensor.cpu

    def came_back(values: Tensor) -> Tensor:
        if values.device != META:
            return cpu(values)
        raise OutcomeFetchedError(tuple(values.shape))

    monkeypatch.setattr(Tensor, "cpu", came_back)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("resident", [True, False])
def test_no_step_waits_or_leaves_anything_behind(
    there: ClipModel,
    outcome_is_noticed,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, Any] | None,
    resident: bool,
) -> None:
    method = find_method(name, options)
    data = data_there(there, resident=resident)
    asked: list[object] = []  # what tower it is may be asked once, before the steps
    monkeypatch.setattr("fdbpl.clip.class_aware.why_plain", asked.append)
    epochs: list[int] = []
    looked: list[int] = []  # whether all is finite is asked once an epoch

    def look(*given: Any) -> None:
        looked.append(given[3])

    def report(epoch: int, _of: int) -> None:
        epochs.append(epoch)

    monkeypatch.setattr("fdbpl.training.loop.require_finite", look)

    with OneDevice(), pytest.raises(OutcomeFetchedError, match=r"\(2, (1, )?4, "):
        train(method, data, PARAMS, (1, 2), report)
    assert epochs == [1, 2, 3]
    assert looked == [0, 1, 2]
    assert len(asked) == (name == "tcp")


@needs_gpu
@pytest.mark.parametrize("name", TRAINED)
def test_a_gpu_learns_what_a_processor_learns(clip: ClipModel, name: str) -> None:
    rng = np.random.default_rng(0)
    given = {
        "student": unit(rng, IMAGES * CROPS, 32),
        "teacher": unit(rng, IMAGES * CROPS, WIDTH),
        "teacher_vectors": unit(rng, len(NAMES), WIDTH),
        "teacher_scale": 18.7,
        "labels": np.arange(IMAGES) % len(NAMES),
        "anchors": unit(rng, len(NAMES), 32),
        "crops": CROPS,
        "method": name,
        "params": PARAMS,
    }
    there = replace(clip, network=copy.deepcopy(clip.network))
    here, found = learn(clip, NAMES, **given)[1], learn(there, NAMES, **given, device="cuda")[1]
    assert there.text_device.type == "cuda"
    assert np.allclose(contexts(found), contexts(here), rtol=1e-3, atol=1e-5)
    assert found.history["inactive"] == here.history["inactive"]
    assert found.arrays.keys() == here.arrays.keys()
    sides = [class_vectors(one, contexts(here), NAMES) for one in (clip, there)]
    assert np.allclose(*sides, atol=1e-5)
    words = [template_vectors(one, NAMES, "a photo of a {}.") for one in (clip, there)]
    assert np.allclose(*words, atol=1e-5)


@needs_gpu
def test_features_that_leave_a_gpu_no_room_stay_beside_it(monkeypatch) -> None:
    values, gpu = torch.ones(1024), torch.device("cuda")
    assert resident(values, gpu).is_cuda
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (2 * values.nbytes, 1 << 40))
    assert not resident(values, gpu).is_cuda
