"""The tiny pair: loads through open_clip, strictly; tokenizes anything; comes from its recipe."""

import json

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from rich.progress import Progress
from safetensors.torch import load_file

from fdbpl.playground import captions, datasets, pretraining, tiny
from fdbpl.system.files import sha256


@pytest.fixture(autouse=True)
def _registered() -> None:
    tiny.register()


@pytest.mark.parametrize("model", tiny.MODELS)
def test_weights_load_strictly_and_are_finite(model: str) -> None:
    state = load_file(tiny.weights(model))
    for key, value in state.items():
        assert value.dtype == torch.float16 or not value.is_floating_point(), key
        assert torch.isfinite(value.float()).all(), key
    clip = open_clip.create_model(model)
    clip.load_state_dict(state, strict=True)
    assert clip.visual.image_size in (tiny.image_size(model), (tiny.image_size(model),) * 2)


@pytest.mark.parametrize("model", tiny.MODELS)
def test_loads_by_open_clips_own_loader(model: str) -> None:
    clip = open_clip.create_model(model, pretrained=str(tiny.weights(model)))
    stored = load_file(tiny.weights(model))["text_projection"]
    assert torch.equal(clip.text_projection.detach().half(), stored)


@pytest.mark.parametrize("model", tiny.MODELS)
def test_record_names_the_committed_weights(model: str) -> None:
    record = json.loads((tiny.HERE / "recipe.json").read_text())[model]
    assert record["sha256"] == sha256(tiny.weights(model).read_bytes())
    recipe = pretraining.RECIPES[model.removeprefix("fdbpl-tiny-")]
    assert pretraining.Recipe(**{**record["recipe"], "crop": tuple(record["recipe"]["crop"]),
                                 "view": tuple(record["recipe"]["view"])}) == recipe  # fmt: skip


def test_merges_split_the_playgrounds_words_as_the_full_list_does() -> None:
    small, full = SimpleTokenizer(str(tiny.MERGES)), SimpleTokenizer()
    for word in captions.words_used():
        assert [small.decoder[t] for t in small.encode(word)] == [
            full.decoder[t] for t in full.encode(word)
        ]


def test_merges_are_remade_byte_for_byte() -> None:
    assert pretraining.merges() == tiny.MERGES.read_bytes()


def test_every_prompt_fits_the_context() -> None:
    tokenizer = open_clip.get_tokenizer(tiny.MODELS[0])
    length = tokenizer.context_length
    for name in datasets.DATASETS:
        drawn = datasets.definition(name)
        for told in drawn.classes:
            assert len(tokenizer.encode(drawn.template.format(told.name))) <= length - 8


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_tokenizes(text: str) -> None:
    tokenizer = open_clip.get_tokenizer(tiny.MODELS[0])
    tokens = tokenizer([text])
    assert tokens.shape == (1, tokenizer.context_length)
    assert int(tokens.max()) == tokenizer.eot_token_id < tokenizer.vocab_size


def test_pretraining_is_a_function_of_its_recipe() -> None:
    recipe = pretraining.Recipe(seed=5, steps=4, batch=12)
    one, two = (pretraining.pretrain(tiny.MODELS[0], recipe, Progress(disable=True)) for _ in "ab")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
