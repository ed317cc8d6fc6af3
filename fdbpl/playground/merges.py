"""A small byte-pair vocabulary: the merges of CLIP's own list that a set of words needs."""

import gzip
from collections.abc import Iterable

from open_clip.tokenizer import SimpleTokenizer, get_pairs


def merge_closure(words: Iterable[str]) -> bytes:
    """Return a merges file that splits each of `words` as CLIP's full list does.

    All merges taken on the way to a word are kept, in the order of the full list. The tokenizer
    still holds every byte, so that any other text tokenizes too, in more pieces. Cutting the
    full list by rank instead would split common words.
    """
    full = SimpleTokenizer()
    kept: set[tuple[str, str]] = set()
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair = min(get_pairs(pieces), key=lambda p: full.bpe_ranks.get(p, float("inf")))
            if pair not in full.bpe_ranks:
                break
            kept.add(pair)
            at = next(i for i in range(len(pieces)) if tuple(pieces[i : i + 2]) == pair)
            pieces[at : at + 2] = ["".join(pair)]
    lines = ["#version: 0.2", *(" ".join(p) for p in sorted(kept, key=full.bpe_ranks.__getitem__))]
    return gzip.compress("\n".join(lines).encode(), mtime=0)
