"""Deep text prompts: tokens of their own for the first J layers, against open_clip's own blocks."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import MakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from test_prompting import PLAIN, TOWERS, features_and_gradient
from torch import Tensor, nn

from fdbpl.clip import shared_prefix
from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import PlainText, TextEncoder, prompted_text
from fdbpl.clip.shared_prefix import SharedPrefixText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.clip.vectors import class_vectors
from fdbpl.methods.training_data import TrainingData
from fdbpl.system.errors import UserError

WORDS, M = "a photo of a", 4
NAMES = ("cat", "maltese puppy", "sea side villa", "Boeing 747-400", "red")
LAYERS = 4


@pytest.fixture(scope="module")
def deep(make_model: MakeModel) -> ClipModel:
    """A text tower of four layers and CLIP's 77 positions."""
    return make_model({"layers": LAYERS, "context_length": 77}, activation="quickgelu")


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (0.3 * x).requires_grad_()


def engine(
    clip: ClipModel, names: tuple[str, ...], dtype: torch.dtype, memory_mb: int | None = None
) -> SharedPrefixText:
    """The engine over the tower in `dtype`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shared_prefix._DTYPES, "fp32", dtype)
        tokens = tokenize_prompts(clip, WORDS, names)
        return SharedPrefixText(tower_in(clip, dtype), tokens, memory_mb=memory_mb)


def tower_in(clip: ClipModel, dtype: torch.dtype) -> Any:
    return copy.deepcopy(clip.text_tower).to(dtype)


def plain(clip: ClipModel, names: tuple[str, ...], dtype: torch.dtype) -> TextEncoder:
    """The tower's own blocks over all positions, a context and a layer at a time."""
    tower = tower_in(clip, dtype)
    ids = clip.tokenizer([f"{WORDS} {name}." for name in names])

    def encode(contexts: Tensor) -> Tensor:
        found = []
        for layers in contexts:
            x = tower.token_embedding(ids)
            positions = tower.positional_embedding
            x = torch.cat([x[:, :1], layers[0].expand(len(ids), -1, -1), x[:, 1 + M :]], 1)
            x = x + positions
            for number, block in enumerate(tower.transformer.resblocks):
                if 0 < number < len(layers):
                    own = layers[number].expand(len(ids), -1, -1)
                    x = torch.cat([x[:, :1], own, x[:, 1 + M :]], 1)
                x = block(x, attn_mask=tower.attn_mask)
            ends = tower.ln_final(x)[torch.arange(len(ids)), ids.argmax(-1)]
            found.append(nn.functional.normalize(ends @ tower.text_projection, dim=-1))
        return torch.stack(found)

    return encode


def assert_equal_ways(found: TextEncoder, wanted: TextEncoder, contexts: Tensor) -> None:
    """Features are equal, and the gradient on each layer's tokens for itself."""
    tolerance = 1e-10 if contexts.dtype == torch.float64 else 1e-5
    one, other = (features_and_gradient(encode, contexts) for encode in (found, wanted))
    assert (one[0] - other[0]).norm() < tolerance * other[0].norm()
    apart, whole = (x.transpose(0, 1).flatten(1).norm(dim=1) for x in (one[1] - other[1], other[1]))
    assert (whole > 0).all()
    assert (apart < tolerance * whole).all()


class_names = st.lists(
    st.sampled_from(["red", "x", "sea side", "antidisestablishmentarian", "Boeing 747-400"]),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12)
@given(names=class_names, sets=st.integers(1, 2), depth=st.integers(1, LAYERS), seed=st.integers())
def test_it_equals_the_towers_own_blocks(
    deep: ClipModel, names: list[str], sets: int, depth: int, seed: int
) -> None:
    names = tuple(names)
    for dtype in (torch.float32, torch.float64):
        contexts = drawn(sets, depth, M, 64, seed=seed % 2**31, dtype=dtype)
        assert_equal_ways(engine(deep, names, dtype), plain(deep, names, dtype), contexts)


@pytest.mark.parametrize("depth", [2, LAYERS])
def test_slopes_are_those_of_finite_differences(deep: ClipModel, depth: int) -> None:
    """In a direction that is drawn, of each layer's tokens for themselves."""
    contexts = drawn(2, depth, M, 64, dtype=torch.float64)
    encode = engine(deep, NAMES, torch.float64)
    features, gradient = features_and_gradient(encode, contexts)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    for layer in range(depth):
        step = torch.zeros_like(contexts)
        step[:, layer] = 1e-4 * drawn(2, M, 64, seed=layer, dtype=torch.float64).detach()
        with torch.no_grad():
            change = (encode(contexts + step) - encode(contexts - step)) / 2
        assert (change * weights).sum().item() == pytest.approx(
            (gradient * step).sum().item(), rel=1e-6
        )


def test_one_layer_is_the_context_as_it_was_bit_for_bit(deep: ClipModel) -> None:
    contexts = drawn(3, M, 64)
    tokens = tokenize_prompts(deep, WORDS, NAMES)
    for way in (SharedPrefixText, PlainText):
        encode = way(deep.text_tower, tokens)
        wanted = features_and_gradient(encode, contexts)
        found = features_and_gradient(encode, contexts[:, None].detach().requires_grad_())
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1][:, 0], wanted[1])


def own_states(tower: Any, encode: TextEncoder, context: Tensor) -> Tensor:
    """A deep context (J, M, W): this one, then what the tower makes of it before each layer."""
    states: list[Tensor] = []

    def keep(_block: nn.Module, _inputs: object, x: Tensor) -> None:
        states.append(x[0, 1 : 1 + M])

    hooks = [block.register_forward_hook(keep) for block in tower.transformer.resblocks[:-1]]
    encode(context[None])
    for hook in hooks:
        hook.remove()
    return torch.stack([context, *states]).detach()


@pytest.mark.parametrize("kind", [*TOWERS, *PLAIN])
def test_the_towers_own_states_give_the_shallow_features(kind: str, make_model: MakeModel) -> None:
    """Of one class: where attention is not causal, another's would be others."""
    options = dict(TOWERS.get(kind) or PLAIN.get(kind, ({}, ""))[0])
    text = {"layers": 3, **options.pop("text", {})}
    clip = make_model(text, **options)
    tokens = tokenize_prompts(clip, WORDS, NAMES[:1])
    tower, width = clip.text_tower, clip.text_tower.token_embedding.weight.shape[1]
    context = drawn(M, width).detach()
    simple = PlainText(tower, tokens)
    layers = own_states(tower, simple, context)
    assert len(layers) == 3
    wanted, fastest = simple(context[None]), prompted_text(tower, tokens)
    for encode in (simple, fastest):
        assert (encode(layers[None]) - wanted).abs().max() < 3e-6
    assert_equal_ways(fastest, simple, drawn(2, 3, M, width))


def test_contexts_at_once_equal_one_by_one(deep: ClipModel) -> None:
    contexts = drawn(3, 3, M, 64, dtype=torch.float64)
    encode = engine(deep, NAMES, torch.float64)
    assert_equal_ways(encode, lambda x: torch.cat([encode(one[None]) for one in x]), contexts)


@given(order=st.permutations(range(len(NAMES))))
@settings(max_examples=5)
def test_classes_in_another_order_have_their_features_in_it(
    deep: ClipModel, order: list[int]
) -> None:
    contexts = drawn(2, 3, M, 64, dtype=torch.float64)
    whole = engine(deep, NAMES, torch.float64)
    other = engine(deep, tuple(NAMES[c] for c in order), torch.float64)
    assert_equal_ways(other, lambda x: whole(x)[:, order], contexts)


@pytest.mark.parametrize("budget", [0, 1])
def test_parts_under_a_budget_equal_the_whole(deep: ClipModel, budget: int) -> None:
    names = tuple(f"{name} {i}" for i in range(12) for name in NAMES)
    contexts = drawn(2, 3, M, 64, dtype=torch.float64)
    whole, parts = (engine(deep, names, torch.float64, memory) for memory in (None, budget))
    assert parts.held(2) < len(parts.parts(2))
    assert_equal_ways(parts, whole, contexts)


def test_bf16_is_close_and_features_stay_in_float32(deep: ClipModel) -> None:
    contexts, tokens = drawn(2, 3, M, 64), tokenize_prompts(deep, WORDS, NAMES)
    wanted, found = (
        features_and_gradient(SharedPrefixText(deep.text_tower, tokens, precision), contexts)
        for precision in ("fp32", "bf16")
    )
    assert found[0].dtype == found[1].dtype == torch.float32
    assert 1e-5 < (found[0] - wanted[0]).abs().max() < 0.05
    assert (found[1] - wanted[1]).norm() < 0.1 * wanted[1].norm()


@pytest.mark.parametrize("way", [SharedPrefixText, PlainText])
@pytest.mark.parametrize("depth", [0, LAYERS + 1])
def test_contexts_deeper_than_the_tower_are_refused(
    deep: ClipModel, way: type[SharedPrefixText | PlainText], depth: int
) -> None:
    encode = way(deep.text_tower, tokenize_prompts(deep, WORDS, NAMES))
    message = f"contexts for {depth} layers of a text tower of {LAYERS}, wanted 1 to {LAYERS}"
    with pytest.raises(UserError, match=message):
        encode(torch.zeros(1, depth, M, 64))


class Embeds(nn.Module):
    """A tower that embeds tokens by a table, and has layers of its own kind."""

    context_length = 77

    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(49408, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids).mean(1)


def test_a_tower_of_other_layers_takes_a_context_of_one_alone(deep: ClipModel) -> None:
    encode = prompted_text(Embeds(), tokenize_prompts(deep, WORDS, NAMES))
    assert encode(torch.zeros(2, M, 8)).shape == (2, len(NAMES), 8)
    with pytest.raises(UserError, match=r"deep contexts for a Embeds, wanted .* open_clip's"):
        encode(torch.zeros(2, 2, M, 8))


def test_layers_that_hold_their_batch_second_are_refused(deep: ClipModel) -> None:
    tower = copy.deepcopy(deep.text_tower)
    tower.transformer.batch_first = False
    encode = PlainText(tower, tokenize_prompts(deep, WORDS, NAMES))
    with pytest.raises(UserError, match="batch first"):
        encode(torch.zeros(1, 2, M, 64))


def test_any_class_list_and_every_run_takes_them(deep: ClipModel) -> None:
    contexts = drawn(3, 2, 2, M, 64).detach()
    text = prompted_text(deep.text_tower, tokenize_prompts(deep, WORDS, NAMES))
    data: Any = SimpleNamespace(text=text)
    _, features = TrainingData.encode(data, contexts, data)
    assert features.shape == (3, 2, len(NAMES), 32)
    for run, found in zip(contexts, features, strict=True):
        assert torch.allclose(text(run), found, atol=1e-6)
        vectors = class_vectors(deep, run.numpy(), NAMES)
        assert torch.allclose(torch.from_numpy(vectors), found, atol=1e-6)
