"""The prompted image tower against open_clip's own modules, with prompts put in plainly."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import VISION, MakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from test_prompting import storages
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.plain_prompted import prompted_plainly
from fdbpl.clip.prompted_image import PromptedImage, why_not
from fdbpl.system.errors import UserError

LAYERS, WIDTH = 3, 32
SMALL = {**VISION, "layers": LAYERS}
TOWERS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "quickgelu": {"activation": "quickgelu"},
    "layer scale": {"vision_cfg": {**SMALL, "ls_init_value": 0.1}},
    "mean": {"vision_cfg": {**SMALL, "pool_type": "avg"}},
    "mean, then norm": {"vision_cfg": {**SMALL, "pool_type": "avg", "final_ln_after_pool": True}},
    "no first norm": {"vision_cfg": {**SMALL, "no_ln_pre": True}},
}
PLACES = [(first, depth) for first in range(LAYERS) for depth in range(1, LAYERS - first + 1)]


@pytest.fixture(scope="module")
def image(make_model: MakeModel) -> Callable[..., ClipModel]:
    """A function that makes a small model whose image tower has three layers."""

    def make(tower: str = "gelu", dtype: torch.dtype = torch.float32) -> ClipModel:
        model = make_model(**{"vision_cfg": SMALL, **TOWERS[tower]})
        return replace(model, network=deepcopy(model.network).to(dtype))

    return make


@pytest.fixture(scope="module")
def small(image: Callable[..., ClipModel]) -> ClipModel:
    return image()


def draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plainly(clip: ClipModel, first: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    """The plain way of S runs (S, depth, P, W) and (S, B, 3, H, W), one after the other."""
    tower = clip.network.visual

    def encode(prompts: Tensor, pixels: Tensor) -> Tensor:
        runs = zip(prompts, pixels, strict=True)
        return F.normalize(
            torch.stack([prompted_plainly(tower, *run, first) for run in runs]), dim=-1
        )

    return encode


def engine(clip: ClipModel, first: int = 0, **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    tower = PromptedImage(clip, first=first, **options)
    return lambda prompts, pixels: tower(prompts, tower.activations(pixels))


def value_and_gradient(encode: Any, prompts: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    learned = prompts.clone().requires_grad_()
    features = encode(learned, pixels)
    weights = draw(*features.shape, dtype=features.dtype, seed=1)
    (gradient,) = torch.autograd.grad((features * weights).sum(), learned)
    return features.detach(), gradient


def assert_equal(
    found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], tolerance: float
) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a - b).norm() <= tolerance * b.norm()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("first", "depth"), PLACES)
@pytest.mark.parametrize("tower", TOWERS)
def test_equal_to_the_plain_way(tower, first, depth, dtype, tolerance, image) -> None:
    clip = image(tower, dtype)
    prompts, pixels = draw(2, depth, 3, WIDTH, dtype=dtype), draw(2, 4, 3, 32, 32, dtype=dtype)
    found, wanted = (
        value_and_gradient(way(clip, first), prompts, pixels) for way in (engine, plainly)
    )
    assert_equal(found, wanted, tolerance)
    assert (wanted[1].flatten(2).norm(dim=2) > 0).all()


@pytest.mark.parametrize("first", range(LAYERS))
@pytest.mark.parametrize("tower", TOWERS)
def test_without_learned_tokens_it_is_the_models_own_tower(tower, first, image) -> None:
    clip, pixels = image(tower), draw(1, 4, 3, 32, 32)
    wanted = F.normalize(clip.network.encode_image(pixels[0]), dim=-1)
    for none in (torch.empty(1, 0, 3, WIDTH), torch.empty(1, 2, 0, WIDTH)[:, : LAYERS - first]):
        assert (engine(clip, first)(none, pixels)[0] - wanted).abs().max() < 1e-6


def test_the_gradient_is_that_of_finite_differences(image) -> None:
    clip = image("quickgelu", torch.float64)
    tower, pixels = PromptedImage(clip), draw(1, 2, 3, 32, 32, dtype=torch.float64)
    activations = tower.activations(pixels)
    prompts = draw(1, 2, 1, WIDTH, dtype=torch.float64).requires_grad_()
    weights = draw(1, 2, 32, dtype=torch.float64, seed=1)
    assert torch.autograd.gradcheck(lambda x: (tower(x, activations) * weights).sum(), prompts)


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.data())
def test_runs_at_once_equal_each_alone(small, sets, images, count, first, data) -> None:
    depth = data.draw(st.integers(1, LAYERS - first))
    prompts, pixels = draw(sets, depth, count, WIDTH), draw(sets, images, 3, 32, 32)
    encode = engine(small, first)
    found = value_and_gradient(encode, prompts, pixels)
    for run in range(sets):
        alone = value_and_gradient(encode, prompts[run, None], pixels[run, None])[0]
        assert (found[0][run] - alone[0]).abs().max() < 2e-6


@pytest.mark.parametrize("tower", ["gelu", "mean"])
def test_permuted_images_have_permuted_features_and_the_same_gradient(tower, image) -> None:
    clip, prompts, pixels = image(tower), draw(1, 2, 3, WIDTH), draw(1, 5, 3, 32, 32)
    order = torch.tensor([3, 0, 4, 1, 2])
    encode = engine(clip)
    found = value_and_gradient(encode, prompts, pixels[:, order])[0]
    assert (found - value_and_gradient(encode, prompts, pixels)[0][:, order]).abs().max() < 2e-6


def test_the_order_of_a_layers_tokens_does_not_matter(small) -> None:
    """They have no position of their own."""
    prompts, pixels = draw(1, 2, 3, WIDTH), draw(1, 4, 3, 32, 32)
    encode = engine(small)
    assert (encode(prompts, pixels) - encode(prompts.flip(2), pixels)).abs().max() < 2e-6


@pytest.mark.parametrize("first", range(LAYERS))
def test_activations_are_what_the_layer_is_given(first: int, small) -> None:
    seen = []
    block = small.network.visual.transformer.resblocks[first]
    hook = block.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    pixels = draw(2, 4, 3, 32, 32)
    with torch.no_grad():
        small.network.encode_image(pixels.flatten(0, 1))
    hook.remove()
    found = PromptedImage(small, first=first).activations(pixels)
    assert found.shape == (2, 4, 5, WIDTH)
    assert (found.flatten(0, 1) - seen[0]).abs().max() < 1e-5
    alone = PromptedImage(small, first=first).activations(pixels[0])
    assert (alone - found[0]).abs().max() < 1e-6


def test_nothing_below_the_first_layer_is_touched(image) -> None:
    clip, pixels, prompts = image(), draw(1, 4, 3, 32, 32), draw(1, 1, 3, WIDTH)
    tower = PromptedImage(clip, first=2)
    activations = tower.activations(pixels)
    wanted = value_and_gradient(tower, prompts, activations)
    clip.network.visual.conv1.weight.data.fill_(torch.nan)
    for block in clip.network.visual.transformer.resblocks[:2]:
        block.mlp.c_fc.weight.data.fill_(torch.nan)
    assert_equal(value_and_gradient(tower, prompts, activations), wanted, 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tower", ["gelu", "mean"])
def test_images_that_the_budget_does_not_hold_are_computed_again(
    tower, precision, image, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = image(tower)
    prompts, activations = draw(2, 2, 3, WIDTH), draw(2, 24, 5, WIDTH)
    tolerance = 2e-6 if precision == "fp32" else 1e-2  # a part's gradient is rounded to bf16
    whole = PromptedImage(clip, precision=precision)
    wanted = value_and_gradient(whole, prompts, activations)
    parts, hold = whole.parts(prompts, activations)
    assert len(parts) == hold == 1
    for budget in (0, 1):
        encode = PromptedImage(clip, precision=precision, memory_mb=budget)
        parts, hold = encode.parts(prompts, activations)
        assert len(parts) > 4
        assert hold < len(parts)
        assert (hold > 0) == (budget > 0)
        assert_equal(value_and_gradient(encode, prompts, activations), wanted, tolerance)
        needs = [sum(storages(encode.forward(prompts, p, keep=True)[1]).values()) for p in parts]
        assert budget == 0 or sum(needs[:hold]) + max(needs[hold:]) < budget << 20
    monkeypatch.setattr("fdbpl.clip.prompted_image.CACHED", 2 * 3 * 8 * 4 * 128)
    encode = PromptedImage(clip, precision=precision)
    parts, hold = encode.parts(prompts, activations)
    assert [part.tokens.shape[1] for part in parts] == [3] * 8
    assert hold == len(parts)
    assert_equal(value_and_gradient(encode, prompts, activations), wanted, tolerance)


def test_bf16_is_close_and_features_stay_in_float32(small) -> None:
    prompts, pixels = draw(2, 2, 3, WIDTH), draw(2, 4, 3, 32, 32)
    wanted, found = (
        value_and_gradient(engine(small, 1, precision=precision), prompts, pixels)
        for precision in ("fp32", "bf16")
    )
    assert found[0].dtype == found[1].dtype == torch.float32
    assert 1e-5 < (found[0] - wanted[0]).abs().max() < 0.05
    assert (found[1] - wanted[1]).norm() < 0.1 * wanted[1].norm()


def test_nothing_flows_into_the_tower_or_the_images(image) -> None:
    clip, pixels = image(), draw(1, 4, 3, 32, 32).requires_grad_()
    prompts = draw(1, 2, 3, WIDTH).requires_grad_()
    engine(clip)(prompts, pixels).sum().backward()
    assert pixels.grad is None
    assert all(parameter.grad is None for parameter in clip.network.parameters())


def test_on_another_device_nothing_is_waited_for(image) -> None:
    """As `test_on_device` says of the "meta" device."""
    clip = image("gelu")
    clip.network.to("meta")
    prompts = torch.empty(2, 2, 3, WIDTH, device="meta", requires_grad=True)
    pixels = torch.empty(2, 40, 3, 32, 32, device="meta")
    features = engine(clip, memory_mb=1)(prompts, pixels)
    features.sum().backward()
    assert features.device.type == prompts.grad.device.type == "meta"


OTHER = {
    "attention": ({"vision_cfg": {**SMALL, "attentional_pool": True}}, "pools by attention"),
    "all": ({"vision_cfg": {**SMALL, "pool_type": "none"}}, "pools by 'none'"),
    "blocks": ({"vision_cfg": {**SMALL, "qk_norm": True}}, "blocks are not the plain"),
}


@pytest.mark.parametrize("tower", OTHER)
def test_towers_that_cannot_are_named(tower: str, make_model: MakeModel) -> None:
    options, reason = OTHER[tower]
    clip = make_model(**options)
    with pytest.raises(UserError, match=f"test-.* cannot take .*{reason}.* Wanted open_clip's"):
        PromptedImage(clip)


def test_a_module_that_is_no_image_tower_is_named() -> None:
    assert why_not(torch.nn.Linear(1, 1)) == "a Linear is not open_clip's VisionTransformer"


def test_patches_dropped_in_training_are_named(make_model: MakeModel) -> None:
    clip = make_model(vision_cfg={**SMALL, "patch_dropout": 0.5})
    tower = deepcopy(clip.network.visual)
    assert why_not(tower) is None
    assert "drops patches" in str(why_not(tower.train()))


def test_other_norms_are_named(image) -> None:
    tower = image().network.visual
    tower.transformer.resblocks[1].ln_2 = torch.nn.RMSNorm(WIDTH)
    assert why_not(tower) == "its norms are RMSNorm"


def test_layers_that_are_not_there_are_named(small) -> None:
    for first in (-1, LAYERS):
        with pytest.raises(UserError, match=f"at layer {first}, but it has 3. Wanted 0 to 2"):
            PromptedImage(small, first=first)
    tower = PromptedImage(small, first=1)
    with pytest.raises(UserError, match=r"for 3 layers from layer 1 on, .* Wanted at most 2"):
        tower(torch.zeros(1, 3, 2, WIDTH), torch.zeros(1, 2, 5, WIDTH))
    with pytest.raises(ValueError, match="2 runs of prompts, 1 of images"):
        tower(torch.zeros(2, 1, 2, WIDTH), torch.zeros(1, 2, 5, WIDTH))
