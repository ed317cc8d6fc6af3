from typing import Any

import pytest
import torch
from conftest import MakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import PlainText, prompted_text, why_plain
from fdbpl.clip.shared_prefix import SharedPrefixText
from fdbpl.clip.tokens import embed_words, tokenize_prompts

WORDS = "a photo of a"
NAMES = ("cat", "dog", "maltese puppy", "sea side villa", "Boeing 747-400", "red", "x y z w")

TOWERS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "quickgelu": {"activation": "quickgelu"},
    "layer scale": {"text": {"ls_init_value": 0.1}},
    "custom text": {"custom_text": True},
    "linear projection": {"text": {"proj_bias": True}},
    "no projection": {"text": {"width": 32, "proj_type": "none"}},
}
PLAIN: dict[str, tuple[dict[str, Any], str]] = {
    "not causal": ({"text": {"no_causal_mask": True}}, "not causal"),
    "custom, not causal": ({"text": {"no_causal_mask": True}, "custom_text": True}, "not causal"),
    "last token": ({"text": {"pool_type": "last"}}, "pools by 'last'"),
    "end token by id": ({"text": {"pool_type": "eos", "eos_id": 49407}}, "pools by 'eos'"),
    "class token": ({"text": {"embed_cls": True}, "custom_text": True}, "class token"),
    "other blocks": ({"text": {"qk_norm": True, "block_type": "custom"}}, "blocks are not"),
}


def random_contexts(model: ClipModel, sets: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    width = model.text_tower.token_embedding.weight.shape[1]
    return (0.3 * torch.randn(sets, 4, width, generator=generator)).requires_grad_()


def features_and_gradient(encode: Any, contexts: Tensor) -> tuple[Tensor, Tensor]:
    features = encode(contexts)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((features * weights).sum(), contexts)
    return features.detach(), gradient


def assert_equal_ways(model: ClipModel, names: tuple[str, ...], contexts: Tensor) -> None:
    tokens = tokenize_prompts(model, WORDS, names)
    shared, plain = (
        features_and_gradient(way(model.text_tower, tokens), contexts)
        for way in (SharedPrefixText, PlainText)
    )
    assert shared[0].shape == (len(contexts), len(names), 32)
    assert (shared[0] - plain[0]).abs().max() < 3e-6
    assert (shared[1] - plain[1]).norm() < 1e-5 * plain[1].norm()
    assert (plain[1].flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("tower", TOWERS)
def test_the_shared_prefix_equals_the_plain_way(tower: str, sets: int, make_model) -> None:
    model = make_model(**TOWERS[tower])
    assert why_plain(model.text_tower) is None
    assert_equal_ways(model, NAMES, random_contexts(model, sets))


words = st.sampled_from(["red", "striped", "antidisestablishmentarian", "x", "747", "é"])
phrases = st.lists(words, min_size=1, max_size=4).map(" ".join)
class_names = st.lists(phrases, min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(names=class_names, sets=st.integers(1, 2), seed=st.integers(0, 99))
def test_names_of_any_lengths_in_any_order(clip: ClipModel, names, sets, seed) -> None:
    assert_equal_ways(clip, tuple(names), random_contexts(clip, sets, seed))


def test_a_class_is_encoded_alike_in_any_company(clip: ClipModel) -> None:
    contexts = random_contexts(clip, 2).detach()
    together = prompted_text(clip.text_tower, tokenize_prompts(clip, WORDS, NAMES))(contexts)
    for index, name in enumerate(NAMES):
        alone = prompted_text(clip.text_tower, tokenize_prompts(clip, WORDS, (name,)))(contexts)
        assert (alone[:, 0] - together[:, index]).abs().max() < 3e-6


MANY = tuple(" ".join(NAMES[i % 7 :][: 1 + i % 3]) + "x" * (i // 7) for i in range(35))


@pytest.mark.parametrize("sets", [1, 6])
def test_parts_under_a_budget_equal_the_whole(clip: ClipModel, sets: int) -> None:
    tokens = tokenize_prompts(clip, WORDS, MANY)
    contexts = random_contexts(clip, sets)
    whole = SharedPrefixText(clip.text_tower, tokens)
    wanted = features_and_gradient(whole, contexts)
    assert len(whole.parts(sets)) == 1
    counts = set()
    for budget in (0, 1, 1000):
        encode = SharedPrefixText(clip.text_tower, tokens, memory_mb=budget)
        counts.add(len(encode.parts(sets)))
        found = features_and_gradient(encode, contexts)
        assert (found[0] - wanted[0]).abs().max() < 1e-6
        assert (found[1] - wanted[1]).norm() < 1e-6 * wanted[1].norm()
    assert min(counts) == 1
    assert max(counts) == len(MANY)


@pytest.mark.parametrize("budget", [None, 1])
def test_parts_that_caches_want_equal_the_whole(
    clip: ClipModel, monkeypatch: pytest.MonkeyPatch, budget: int | None
) -> None:
    tokens = tokenize_prompts(clip, WORDS, MANY)
    contexts = random_contexts(clip, 2)
    wanted = features_and_gradient(SharedPrefixText(clip.text_tower, tokens), contexts)
    rows = 20
    monkeypatch.setattr("fdbpl.clip.shared_prefix.CACHED", rows * 4 * 64 * 4)
    encode = SharedPrefixText(clip.text_tower, tokens, memory_mb=budget)
    parts = encode.parts(2)
    assert len(parts) > 5
    assert all(len(part.embedded) <= rows or part.classes == 1 for part in parts)
    assert (encode.held(2) == len(parts)) == (budget is None)
    found = features_and_gradient(encode, contexts)
    assert (found[0] - wanted[0]).abs().max() < 1e-6
    assert (found[1] - wanted[1]).norm() < 1e-6 * wanted[1].norm()


def storages(kept: Any) -> dict[int, int]:
    """Bytes of every storage that tensors anywhere inside refer to, by address."""
    if isinstance(kept, Tensor):
        return {kept.untyped_storage().data_ptr(): kept.untyped_storage().nbytes()}
    inner = kept if isinstance(kept, list | tuple) else vars(kept).values()
    return {address: size for one in inner for address, size in storages(one).items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("sets", "budget"), [(1, 1), (6, 1), (6, 2)])
def test_what_backward_needs_stays_within_the_budget(
    clip: ClipModel, sets: int, budget: int, precision: Any
) -> None:
    tokens = tokenize_prompts(clip, WORDS, MANY)
    encode = SharedPrefixText(clip.text_tower, tokens, precision, memory_mb=budget)
    prefixes = torch.zeros(sets, 2, 1 + len(tokens.context), 64)
    parts = encode.parts(sets)
    needs = [sum(storages(encode.forward(prefixes, p, keep=True)[1]).values()) for p in parts]
    held = encode.held(sets)
    assert sum(needs[:held]) + max(needs[held:], default=0) < budget << 20


def test_gradients_of_several_losses_go_back_through_one_pass(clip: ClipModel) -> None:
    contexts = random_contexts(clip, 2)
    encode = SharedPrefixText(clip.text_tower, tokenize_prompts(clip, WORDS, MANY), memory_mb=1)
    features = encode(contexts)
    first, second = features[0].sum(), (features[1] ** 3).sum()
    apart = [torch.autograd.grad(x, contexts, retain_graph=True)[0] for x in (first, second)]
    (together,) = torch.autograd.grad(first + second, contexts)
    assert torch.allclose(sum(apart), together, rtol=1e-5, atol=1e-7)
    assert apart[0][1].abs().max() == apart[1][0].abs().max() == 0


@pytest.mark.parametrize("tower", ["gelu", "quickgelu"])
@pytest.mark.parametrize(("cheap", "count"), [(0, 5), (1000, 2), (1e9, 1)])
def test_padding_in_attention_changes_nothing(
    tower: str, cheap: float, count: int, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a group for each length to one group for all, as on a GPU."""
    monkeypatch.setattr("fdbpl.clip.packing.CHEAP_PADDING", cheap)
    model = make_model(**TOWERS[tower])
    assert_equal_ways(model, NAMES, random_contexts(model, 2))
    encode = SharedPrefixText(model.text_tower, tokenize_prompts(model, WORDS, NAMES))
    assert len(encode.parts(2)[0].packing.groups) == count


def test_bf16_is_close_and_features_stay_in_float32(clip: ClipModel) -> None:
    tokens, contexts = tokenize_prompts(clip, WORDS, NAMES), random_contexts(clip, 2)
    wanted, found = (
        features_and_gradient(SharedPrefixText(clip.text_tower, tokens, precision), contexts)
        for precision in ("fp32", "bf16")
    )
    assert found[0].dtype == found[1].dtype == torch.float32
    assert 1e-5 < (found[0] - wanted[0]).abs().max() < 0.05
    assert (found[1] - wanted[1]).norm() < 0.1 * wanted[1].norm()


def sentence_features(model: ClipModel, words: str) -> Tensor:
    ids = model.tokenizer([f"{words} {name}." for name in NAMES])
    with torch.no_grad():
        features = model.network.encode_text(ids)
    return torch.nn.functional.normalize(features, dim=-1)


@pytest.mark.parametrize("tower", [*TOWERS, *PLAIN])
def test_the_starting_words_give_the_sentences_own_features(tower: str, make_model) -> None:
    model = make_model(**(TOWERS.get(tower) or PLAIN.get(tower, ({}, ""))[0]))
    contexts = torch.stack([embed_words(model, words) for words in (WORDS, "a photo of no")])
    tokens = tokenize_prompts(model, WORDS, NAMES)
    for way in (PlainText(model.text_tower, tokens), prompted_text(model.text_tower, tokens)):
        found = way(contexts)
        for features, words in zip(found, (WORDS, "a photo of no"), strict=True):
            assert (features - sentence_features(model, words)).abs().max() < 3e-6


@pytest.mark.parametrize("tower", PLAIN)
def test_other_towers_take_the_plain_way_and_work(tower: str, make_model: MakeModel) -> None:
    options, reason = PLAIN[tower]
    model = make_model(**options)
    assert reason in str(why_plain(model.text_tower))
    encode = prompted_text(model.text_tower, tokenize_prompts(model, WORDS, NAMES))
    assert isinstance(encode, PlainText)
    features, gradient = features_and_gradient(encode, random_contexts(model, 2))
    assert torch.allclose(features.norm(dim=-1), torch.ones(2, len(NAMES)))
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_a_module_that_is_no_text_tower_is_named() -> None:
    assert why_plain(torch.nn.Linear(1, 1)) == "a Linear is not CLIP's text transformer"


def test_the_plain_way_leaves_the_tower_as_it_was(clip: ClipModel) -> None:
    before = sentence_features(clip, WORDS)
    encode = PlainText(clip.text_tower, tokenize_prompts(clip, WORDS, NAMES))
    encode(random_contexts(clip, 1))
    with pytest.raises(RuntimeError):
        encode(torch.zeros(1, 4, 7))  # of a wrong width
    assert torch.equal(sentence_features(clip, WORDS), before)


def test_nothing_flows_into_the_frozen_tower(clip: ClipModel) -> None:
    encode = SharedPrefixText(clip.text_tower, tokenize_prompts(clip, WORDS, NAMES))
    encode(random_contexts(clip, 2)).sum().backward()
    assert all(parameter.grad is None for parameter in clip.network.parameters())
