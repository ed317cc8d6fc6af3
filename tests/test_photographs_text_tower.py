"""Text towers made of words, and the one matrix of the image side."""

import numpy as np
import open_clip
import pytest
import torch
from conftest import unit
from hypothesis import given
from hypothesis import strategies as st
from told import IMAGENET, STUDENT, SUBJECTS, wholes

from fdbpl.clip import small
from studies.photographs import text_training
from studies.photographs.captions import Captions, caption_tokens
from studies.photographs.text_tower import STREAM, Projection, TextTower, with_small_stream


@given(wholes, st.integers(2, 20), st.integers(2, 9))
def test_one_matrix_does_what_the_projection_does(seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    features = unit(rng, count, 7) * rng.uniform(0.1, 2, 7).astype(np.float32) + unit(rng, 7)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    projection = Projection(features, width).double()
    given = torch.from_numpy(features).double()
    x = projection.inputs(given)
    torch.testing.assert_close(x @ projection.mean, torch.zeros(count).double(), atol=1e-4, rtol=0)
    with torch.no_grad():
        plain = torch.nn.functional.normalize(x @ projection.weight, dim=1)
        found = torch.nn.functional.normalize(given @ projection.matrix().T, dim=1)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def captions() -> Captions:
    return Captions([*SUBJECTS, *IMAGENET])


@pytest.fixture(scope="module")
def tower(captions: Captions) -> TextTower:
    small.register()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = TextTower(open_clip.create_model(STUDENT), captions.tokens_used()).eval()
        with torch.no_grad():
            tower.delta[1:].add_(0.02 * torch.randn_like(tower.delta[1:]))
    return tower


def test_a_tower_s_features_are_those_of_the_model_it_makes(
    tower: TextTower, captions: Captions
) -> None:
    tokens = captions.draw(np.random.default_rng(0), np.arange(len(SUBJECTS)))
    strange = [caption_tokens("a zebra's {}?", "xylophone")]  # tokens without a vector of their own
    tokens[0] = torch.tensor([*strange[0], *[0] * (32 - len(strange[0]))])
    own = {name: one.detach() for name, one in tower.tensors().items()}
    projection = torch.zeros(256, 1280)
    trunk = small.image_trunk("tf_efficientnet_lite0")
    state = small.assemble({**own, "visual.head.proj.weight": projection}, trunk)
    clip = open_clip.create_model(STUDENT).eval()
    clip.load_state_dict(state, strict=True)
    with torch.no_grad():
        found, wanted = tower(tokens), clip.encode_text(tokens, normalize=True)
        assert (found - wanted).abs().max() < 2e-3  # of rounding the embedding to fp16
        exact = tower.words @ tower.expand
        exact[tower.rows] += tower.delta[1:]
        clip.token_embedding.weight.copy_(exact)
        torch.testing.assert_close(
            found, clip.encode_text(tokens, normalize=True), atol=1e-5, rtol=0
        )


def test_a_smaller_stream_says_the_same(tower: TextTower, captions: Captions) -> None:
    tokens = captions.draw(np.random.default_rng(0), np.arange(len(SUBJECTS)))
    with torch.no_grad():
        wanted = tower(tokens)
        scaled = with_small_stream(tower.tensors())
        other = TextTower(open_clip.create_model(STUDENT), captions.tokens_used()).eval()
        other.network.load_state_dict(scaled, strict=False)
        other.expand.copy_(scaled[small.EXPAND])
        other.delta[1:].copy_(scaled[small.DELTA])
        for one in other.modules():
            if isinstance(one, torch.nn.LayerNorm):
                one.eps *= STREAM**2
        torch.testing.assert_close(other(tokens), wanted, atol=1e-5, rtol=0)


def test_a_caption_s_feature_does_not_depend_on_the_others(tower, captions: Captions) -> None:
    tokens = captions.draw(np.random.default_rng(1), np.arange(len(SUBJECTS)))
    order = torch.from_numpy(np.random.default_rng(2).permutation(len(tokens)))
    with torch.no_grad():
        together = tower(tokens)
        torch.testing.assert_close(tower(tokens[order]), together[order], atol=1e-5, rtol=0)
        for row in (0, len(tokens) - 1):
            torch.testing.assert_close(
                tower(tokens[row : row + 1])[0], together[row], atol=1e-5, rtol=0
            )


def test_start_and_end_alone_begin_with_vectors_of_their_own(captions: Captions) -> None:
    used = captions.tokens_used()
    tower = TextTower(text_training._network(STUDENT), used)
    assert tower.rows[-2:].tolist() == [49406, 49407]
    assert tower.delta[-2:].abs().min(1).values.gt(0).all()
    assert not tower.delta[:-2].any()
    assert (tower.slots > 0).nonzero()[:, 0].tolist() == used


def test_no_other_token_learns_a_vector(tower: TextTower, captions: Captions) -> None:
    """What pads short captions is a token, too; what it learned would be lost with the file."""
    tokens = captions.draw(np.random.default_rng(3), np.arange(len(SUBJECTS)))
    assert len({int(one) for one in tokens.argmax(1)}) > 3
    (gradient,) = torch.autograd.grad(tower(tokens).square()[:, 0].sum(), tower.delta)
    assert not gradient[0].any()
    learning = gradient.abs().sum(1).nonzero()[:, 0] - 1
    assert tower.rows[learning].tolist() == sorted({*tokens.flatten().tolist()} - {0})
