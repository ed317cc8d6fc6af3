"""The small pair: whole models out of packages and own tensors, by any loader, for any text."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from conftest import draw_folder
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_prompting import NAMES, WORDS, features_and_gradient, random_contexts

from fdbpl.cli import main
from fdbpl.clip import onnx_export, small
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel, load_model, state_digest
from fdbpl.clip.params import ModelParams
from fdbpl.clip.projection import last_projection
from fdbpl.clip.prompting import PlainText, prompted_text, why_plain
from fdbpl.clip.shared_prefix import SharedPrefixText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.settings.presets.preset import preset
from fdbpl.system.errors import UserError

FROZEN = Path(__file__).resolve().parents[1] / "studies" / "photographs" / "frozen.json"
State = Mapping[str, torch.Tensor]


def params(model: str, weights: str = "small") -> ModelParams:
    activation = None if weights == "small" else "gelu"
    return ModelParams(architecture=model, weights=weights, activation=activation)


@pytest.fixture(scope="module", params=small.PAIR)
def clip(request: pytest.FixtureRequest) -> ClipModel:
    return load_model(params(request.param), "student")


@pytest.fixture(scope="module")
def model(clip: ClipModel) -> str:
    return clip.identity["architecture"]


@pytest.fixture(scope="module")
def own(model: str) -> State:
    return load_file(small.weights(model))


def trunk(model: str) -> State:
    return small.image_trunk(small.config(model)["vision_cfg"]["timm_model_name"])


def test_a_file_holds_what_no_package_does_in_half_precision(model: str, own: State) -> None:
    for name, tensor in own.items():
        assert tensor.dtype == (torch.int32 if name == small.ROWS else torch.float16), name
        assert torch.isfinite(tensor.float()).all(), name
        assert not name.startswith(small.TRUNK)
    assert small.EMBEDDING not in own
    assert small.weights(model).stat().st_size < 4 << 20


def test_a_model_is_its_own_tensors_and_its_package_s(clip, model: str, own: State) -> None:
    found, wanted = small.state(model), small.assemble(own, trunk(model))
    assert found.keys() == wanted.keys() == clip.network.state_dict().keys()
    for name, tensor in clip.network.state_dict().items():
        assert torch.equal(found[name], wanted[name]), name
        assert torch.equal(tensor, wanted[name].to(tensor.dtype)), name


@pytest.fixture(scope="module")
def whole(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tensors of a model in one file."""
    path = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    save_file({name: one.contiguous() for name, one in small.state(model).items()}, path)
    return path


def test_open_clip_s_own_factory_loads_it(clip, model: str, whole: Path) -> None:
    state = open_clip.create_model(model, pretrained=str(whole)).state_dict()
    assert all(torch.equal(state[name], one) for name, one in clip.network.state_dict().items())


def test_tokens_begin_as_their_words_and_what_captions_taught(clip, own: State) -> None:
    words = load_file(small.WORDS)
    vectors = words["vectors"].double() * words["scale"].double()
    plain = vectors @ own[small.EXPAND].double()
    embedding = clip.network.token_embedding.weight
    rows = own[small.ROWS].long()
    taught = torch.zeros(len(plain), dtype=torch.bool)
    taught[rows] = True
    assert torch.equal(embedding[~taught], plain[~taught].half().float())
    wanted = plain[rows] + own[small.DELTA].double()
    assert torch.equal(embedding[rows], wanted.half().float())
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert taught[[clip.tokenizer.sot_token_id, clip.tokenizer.eot_token_id]].all()


@pytest.fixture(scope="module")
def tokenizers() -> list[Any]:
    small.register()
    return [open_clip.get_tokenizer(name) for name in (small.PAIR[0], "ViT-B-32")]


@given(text=st.text(max_size=60))
def test_any_text_tokenizes_as_for_clip(tokenizers: list[Any], text: str) -> None:
    found, full = (tokenizer([text]) for tokenizer in tokenizers)
    length = small.config(small.PAIR[0])["text_cfg"]["context_length"]
    assert found.shape == (1, length)
    assert found.max() == tokenizers[0].eot_token_id
    if not full[0, length:].any():
        assert torch.equal(found, full[:, :length])


def test_a_name_is_itself_in_any_sentence(clip: ClipModel) -> None:
    names = ["dog", "tulip", "truck", "forest", "pizza", "shirt", "airplane", "bridge", "frog"]
    with torch.no_grad():
        first, second = (
            clip.network.encode_text(clip.tokenizer([words.format(name) for name in names]), True)
            for words in ("a photo of a {}.", "a bad photo of the {}.")
        )
    assert (first @ second.T).argmax(1).tolist() == list(range(len(names)))


def test_pictures_are_shown_as_the_towers_were_trained(clip, model: str, whole: Path) -> None:
    file = load_model(params(model, str(whole)), "teacher")
    for one in (clip, file):
        assert (one.mean, one.std) == ((0.5,) * 3, (0.5,) * 3)
        assert (one.interpolation, one.resize_mode, one.image_size) == ("bicubic", "shortest", 160)
    assert file.identity == clip.identity
    assert (clip.source, file.source[:5]) == ("small", "file ")


def test_the_text_engine_is_exact(clip: ClipModel) -> None:
    assert why_plain(clip.text_tower) is None
    tokens, contexts = tokenize_prompts(clip, WORDS, NAMES), random_contexts(clip, 2)
    assert isinstance(prompted_text(clip.text_tower, tokens), SharedPrefixText)
    shared, plain = (
        features_and_gradient(way(clip.text_tower, tokens), contexts)
        for way in (SharedPrefixText, PlainText)
    )
    assert (shared[0] - plain[0]).abs().max() < 1e-5
    assert (shared[1] - plain[1]).norm() < 1e-4 * plain[1].norm()


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 160, 160)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(clip: ClipModel) -> ImageEncoder:
    return ImageEncoder(clip, precision="fp32", batch_size=3)


def test_onnx_runtime_changes_no_feature_but_by_rounding(
    clip: ClipModel, encoder: ImageEncoder
) -> None:
    assert "onnxruntime" in encoder.fingerprint["numerics"]
    with torch.no_grad():
        wanted = clip.network.encode_image(torch.from_numpy(noise(3)), normalize=True)
    np.testing.assert_allclose(encoder.encode(noise(3)), wanted.numpy(), atol=5e-6)


def test_a_tower_that_is_no_graph_runs_in_torch(
    clip: ClipModel, encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise UserError("no graph")

    monkeypatch.setattr(onnx_export, "export_tower", refuse)
    plain = ImageEncoder(clip, precision="fp32", batch_size=3)
    assert "torch" in plain.fingerprint["numerics"]
    np.testing.assert_allclose(plain.encode(noise(3)), encoder.encode(noise(3)), atol=5e-6)


def test_lower_precision_runs_in_torch(clip: ClipModel, encoder: ImageEncoder) -> None:
    lower = ImageEncoder(clip, precision="bf16", batch_size=3)
    assert "torch" in lower.fingerprint["numerics"]
    np.testing.assert_allclose(lower.encode(noise(3)), encoder.encode(noise(3)), atol=0.05)


def test_a_feature_does_not_depend_on_what_else_is_encoded(encoder: ImageEncoder) -> None:
    pixels = noise(3)
    together = encoder.encode(pixels)
    for row in range(3):
        assert (encoder.encode(pixels[row : row + 1])[0] == together[row]).all()
    assert (encoder.encode(pixels[::-1].copy())[::-1] == together).all()


def test_the_last_projection_is_that_of_the_file(clip: ClipModel, encoder, own: State) -> None:
    projection = last_projection(clip)
    assert torch.equal(projection, own["visual.head.proj.weight"].float().T)
    before = ImageEncoder(clip, precision="fp32", batch_size=3, before_projection=True)
    hidden = before.encode(noise(2)) @ projection.numpy()
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    np.testing.assert_allclose(hidden, encoder.encode(noise(2)), atol=1e-4)


def test_frozen_digests_are_those_of_the_packaged_files(model: str, own: State) -> None:
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    if model not in frozen:
        pytest.skip(f"{FROZEN.name} does not name {model}")
    assert frozen[model] == state_digest(own)


@pytest.fixture
def without_package(model: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the image tower's package, which cannot be imported."""
    package, _ = small.TOWERS[small.config(model)["vision_cfg"]["timm_model_name"]]
    monkeypatch.setitem(sys.modules, package, None)
    return package


def test_a_missing_package_is_named(model: str, without_package: str) -> None:
    with pytest.raises(UserError, match=rf"teacher\.weights: .*{without_package}.*Install") as said:
        load_model(params(model), "teacher")
    assert "\n" not in str(said.value)


def test_the_command_line_names_a_missing_package(
    without_package: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_folder(tmp_path / "mine", {"cat": (2, 1), "owl": (2, 1)})
    text = preset("folder", root="mine").replace(small.PAIR[0], model)
    Path("params.yaml").write_text(text.replace(small.PAIR[1], model), encoding="utf-8")
    run = CliRunner()
    assert run.invoke(main, ["prepare-crops", "mine"]).exit_code == 0
    found = run.invoke(main, ["cache-teacher", "mine"])
    assert found.exit_code == 2, found.output
    assert without_package in found.stderr
    assert "Traceback" not in found.output


@pytest.mark.parametrize("damage", [b"", b"no weights", b"PK\x03\x04 no zip"])
@pytest.mark.parametrize("place", ["own", "package"])
def test_what_is_damaged_is_one_line(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, damage: bytes
) -> None:
    if place == "own":
        monkeypatch.setattr(small, "weights", lambda name: tmp_path / "own")
        (tmp_path / "own").write_bytes(damage)
    else:
        monkeypatch.setattr(small.resources, "files", lambda package: tmp_path)
        (tmp_path / "models").mkdir()
        for _, file in small.TOWERS.values():
            (tmp_path / "models" / file).write_bytes(damage)
    with pytest.raises(UserError, match=r"student\.weights: .*damaged .* Install") as said:
        load_model(params(model), "student")
    assert "\n" not in str(said.value)
