from collections.abc import Callable, Mapping
from pathlib import Path

import open_clip
import pytest
import torch
from conftest import MakeModel
from open_clip import pretrained
from safetensors.torch import save_file

from fdbpl.clip.model import ClipModel, load_model, state_digest
from fdbpl.clip.params import ModelParams
from fdbpl.system.errors import UserError

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def name(architecture: Callable[..., str]) -> str:
    return architecture()


@pytest.fixture(scope="module")
def state(name: str, random_state: Callable[..., State]) -> State:
    return random_state(name)


def load(name: str, path: Path | str, activation: str | None = "gelu") -> ClipModel:
    params = ModelParams(architecture=name, weights=str(path), activation=activation)
    return load_model(params, "student")


def saved(folder: Path, state: Mapping[str, torch.Tensor]) -> Path:
    path = folder / "weights.safetensors"
    save_file(dict(state), path)
    return path


def test_every_tensor_is_the_files_own(name: str, state: State, tmp_path: Path) -> None:
    model = load(name, saved(tmp_path, state))
    loaded = model.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert not any(p.requires_grad for p in model.network.parameters())
    assert not model.network.training
    assert model.logit_scale == pytest.approx(20.0855, abs=1e-3)
    assert model.image_size == 32
    assert (model.interpolation, model.resize_mode) == ("bicubic", "shortest")
    assert model.mean == open_clip.OPENAI_DATASET_MEAN


def test_loading_leaves_torchs_generator_alone(name: str, state: State, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    load(name, saved(tmp_path, state))
    assert torch.equal(torch.get_rng_state(), before)


def test_torch_and_safetensors_files_give_one_identity(name, state, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "bare.pt")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pt")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "parallel.pt")
    models = [load(name, saved(tmp_path, state))]
    models += [load(name, tmp_path / f"{kind}.pt") for kind in ("bare", "checkpoint", "parallel")]
    assert all(model.identity == models[0].identity for model in models)
    assert models[0].source.startswith("file ")
    assert len({model.source for model in models}) == 4


def test_half_precision_files_load_in_single(name, state, tmp_path: Path) -> None:
    half = {key: value.half() for key, value in state.items()}
    model = load(name, saved(tmp_path, half))
    assert {value.dtype for value in model.network.state_dict().values()} == {torch.float32}
    back = {key: value.float() for key, value in half.items()}
    assert model.identity["weights"] == state_digest(back)


def test_a_scale_of_shape_one_is_taken(name, state, tmp_path: Path) -> None:
    model = load(name, saved(tmp_path, {**state, "logit_scale": torch.tensor([3.0])}))
    assert model.identity["weights"] == state_digest(state)


def test_the_digest_sees_names_shapes_kinds_and_values() -> None:
    states = [
        {"a": torch.zeros(2, 3)},
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": torch.zeros(2, 3).index_fill(1, torch.tensor([1]), 1e-30)},
        {"a": torch.zeros(2, 3), "c": torch.zeros(())},
    ]
    assert len({state_digest(state) for state in states}) == len(states)
    backwards = dict(reversed(states[-1].items()))
    assert state_digest(backwards) == state_digest(states[-1])


def without(state: State, key: str) -> State:
    return {other: value for other, value in state.items() if other != key}


def spoilt(state: State, value: float) -> State:
    tensor = state["text_projection"].clone()
    tensor[3, 4] = value
    return {**state, "text_projection": tensor}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: without(s, "ln_final.bias"), r"lacks 1 tensors, the first 'ln_final\.bias'"),
        (lambda s: {"a": torch.zeros(1)}, r"lacks \d+ tensors.* and has in excess 1 tensors, 'a'"),
        (
            lambda s: {**s, "logit_scale": torch.tensor(100.0)},
            r"'logit_scale' is 100.*save 4\.6052",
        ),
        (
            lambda s: {**s, "ln_final.bias": torch.ones(64, dtype=torch.int8)},
            r"'ln_final\.bias' is of torch\.int8, wanted torch\.float32",
        ),
        (
            lambda s: {**s, "ln_final.bias": torch.full((64,), 1e300, dtype=torch.float64)},
            r"'ln_final\.bias' has values that are not finite",
        ),
        (
            lambda s: {"image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight": torch.ones(2)},
            "names of MobileCLIP that do not fit",
        ),
        (lambda s: {**s, "extra": torch.zeros(1)}, "has in excess 1 tensors, 'extra'"),
        (
            lambda s: {**s, "ln_final.bias": torch.zeros(3)},
            r"'ln_final\.bias' has shape \[3\], wanted \[64\]",
        ),
        (lambda s: {**s, "logit_scale": torch.zeros(2)}, r"'logit_scale' has shape \[2\]"),
        (lambda s: spoilt(s, float("nan")), "'text_projection' has values that are not finite"),
        (lambda s: spoilt(s, float("inf")), "'text_projection' has values that are not finite"),
    ],
)
def test_weights_that_do_not_fit(name, state, tmp_path: Path, change, says: str) -> None:
    path = saved(tmp_path, change(state))
    with pytest.raises(UserError, match=rf"^student\.weights: .*weights\.safetensors.*{says}"):
        load(name, path)


def test_what_nothing_was_learned_in_is_left_out(name, state, tmp_path: Path) -> None:
    beside = {name: torch.tensor(3) for name in ("input_resolution", "context_length")}
    beside["transformer.resblocks.0.attn_mask"] = torch.zeros(2, 2)
    model = load(name, saved(tmp_path, {**state, **beside}))
    assert model.identity["weights"] == state_digest(state)


@pytest.mark.parametrize("content", [[1, 2], {}, torch.zeros(3), {"epoch": 3}])
def test_torch_files_of_another_kind(name, tmp_path: Path, content) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"student\.weights: .*weights\.pt"):
        load(name, tmp_path / "weights.pt")


def test_an_unknown_architecture_is_answered_with_near_ones() -> None:
    with pytest.raises(UserError, match=r"student\.architecture is 'ViT-B-23'.*ViT-B-32"):
        load("ViT-B-23", "openai")


def test_neither_file_nor_tag_is_answered_with_the_tags(name: str) -> None:
    with pytest.raises(UserError, match=r"'opnai': no such file, and no pretrained tag.*openai"):
        load("ViT-B-32", "opnai")
    with pytest.raises(UserError, match=r"no such file.*Wanted a file: it has no tags\."):
        load(name, "gone.safetensors")
    with pytest.raises(UserError, match=r"'tyni': no such file.*Wanted a file, or one of: tiny\."):
        load("fdbpl-tiny-student", "tyni")


def test_tiny_weights_belong_to_tiny_models(name: str) -> None:
    with pytest.raises(UserError, match=r"student\.weights is 'tiny', which test-.* does not have"):
        load(name, "tiny")


def test_a_file_does_not_tell_its_activation(name, state, tmp_path: Path) -> None:
    path = saved(tmp_path, state)
    with pytest.raises(UserError, match=r"student\.activation is missing: .*'gelu' or 'quickgelu'"):
        load(name, path, None)


def test_the_activation_changes_features_and_identity(make_model: MakeModel) -> None:
    gelu, quick = (make_model(activation=kind) for kind in ("gelu", "quickgelu"))
    ids = gelu.tokenizer(["a red star"])
    images = torch.ones(1, 3, 32, 32)
    with torch.no_grad():
        for part, given in (("encode_text", ids), ("encode_image", images)):
            features = [getattr(model.network, part)(given) for model in (gelu, quick)]
            assert not torch.allclose(*features)
    assert gelu.identity["weights"] == quick.identity["weights"]
    assert gelu.identity != quick.identity


def test_gelu_overrides_an_architecture_named_for_quickgelu(make_model: MakeModel) -> None:
    model = make_model(quick_gelu=True, activation="gelu")
    assert not any("QuickGELU" in type(part).__name__ for part in model.network.modules())


def test_an_activation_that_contradicts_the_tag(name, state, tmp_path, monkeypatch) -> None:
    path = saved(tmp_path, state)
    tag = {"quick_gelu": True, "mean": (0.5, 0.5, 0.5), "resize_mode": "squash"}
    monkeypatch.setattr(pretrained, "get_pretrained_cfg", lambda *_: tag)
    monkeypatch.setattr(pretrained, "download_pretrained", lambda *_: str(path))
    with pytest.raises(UserError, match=r"is 'gelu', but .* was trained with 'quickgelu"):
        load(name, "made-up", "gelu")
    model = load(name, "made-up", None)
    assert model.identity["activation"] == "quickgelu"
    assert model.source == "tag made-up"
    assert model.mean == (0.5, 0.5, 0.5)  # preprocessing travels with the weights
    assert model.resize_mode == "squash"
    monkeypatch.setitem(tag, "resize_mode", "longest")
    with pytest.raises(UserError, match="resizes images by 'longest', wanted 'shortest' or"):
        load(name, "made-up", None)


def test_a_tower_that_cannot_be_built(architecture, tmp_path: Path, state) -> None:
    name = architecture({"heads": 3})  # 64 is no multiple of 3
    with pytest.raises(UserError, match=rf"student\.architecture: {name} could not be built"):
        load(name, saved(tmp_path, state))
