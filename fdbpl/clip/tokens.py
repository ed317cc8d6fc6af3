"""From class names to the tokens that stand around a learned context."""

from dataclasses import dataclass

import torch
from open_clip.tokenizer import SimpleTokenizer

from fdbpl.clip.model import ClipModel
from fdbpl.errors import UserError


@dataclass(frozen=True)
class PromptTokens:
    """Token ids of "start, context, class name, end" for every class.

    `context` are the ids of the words a context starts from, M of them; `suffixes[c]` are the
    ids of class c's name, the full stop and the end token.
    """

    start: int
    context: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]


def tokenize_prompts(clip: ClipModel, words: str, class_names: tuple[str, ...]) -> PromptTokens:
    """Tokenise "`words` `name`." for every class, as CoOp does.

    Raises:
        UserError: a class name is too long for the text tower, or its tokenizer is not CLIP's.
    """
    if not isinstance(clip.tokenizer, SimpleTokenizer):
        raise UserError(
            f"{clip.identity['architecture']} has a {type(clip.tokenizer).__name__}, wanted CLIP's "
            "own tokenizer, whose start and end tokens a context stands between."
        )
    limit = clip.tokenizer.context_length
    texts = [f"{words} {name}." for name in class_names]
    ids = clip.tokenizer([words, *texts], context_length=4 * limit)
    ends = ids.argmax(dim=-1)  # the end token has the highest id, and the text is not cut off
    for name, end in zip(class_names, ends[1:].tolist(), strict=True):
        if end >= limit:
            raise UserError(
                f"class name {name!r} makes a prompt of {end + 1} tokens, wanted at most {limit} "
                f"for {clip.identity['architecture']}. Shorten the name."
            )
    first = int(ends[0])
    context = tuple(ids[0, 1:first].tolist())
    rows = zip(ids[1:].tolist(), ends[1:].tolist(), strict=True)
    suffixes = tuple(tuple(row[first : end + 1]) for row, end in rows)
    return PromptTokens(start=int(ids[0, 0]), context=context, suffixes=suffixes)


def embed_words(clip: ClipModel, words: str) -> torch.Tensor:
    """Return the token embeddings (M, W) of `words`: where a context starts from."""
    ids = tokenize_prompts(clip, words, ("thing",)).context
    return clip.text_tower.token_embedding.weight[list(ids)].clone()
